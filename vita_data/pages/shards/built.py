"""Which built sources a folder means: itself, or those in it."""

from vita_data.errors import ManifestError, RequestError, StorageError, forbidden
from vita_data.nearby import near_name
from vita_data.shards.index import CARD, closed_in, is_built, meant_shards, sources_in
from vita_data.storage.files import AnyPath


def built_in(folder: AnyPath) -> list[AnyPath]:
    """List the built sources of a folder that `vita-data build --out` wrote to.

    Raises:
        RequestError: the folder does not exist.
        StorageError: the folders in it may not be opened.
        ManifestError: nothing is built in it.
    """
    if not folder.is_dir():
        hint = near_name(folder) or "; give the folder that `vita-data build --out` wrote to"
        raise RequestError(f"the folder {folder} does not exist{hint}")
    names = sources_in(folder)
    if not names:
        for closed in closed_in(folder):
            raise StorageError(forbidden(closed))
        hint = meant_shards(folder) or f"; run `vita-data build --source NAME --raw RAW --out {folder}`"
        raise ManifestError(f"no built source in {folder}: expected folders that contain {CARD}{hint}")
    return [folder / name for name in names]


def built_at(folder: AnyPath) -> list[AnyPath]:
    """Return the folder itself if it is a built source, otherwise list those in it.

    Raises:
        RequestError, StorageError, ManifestError: as in `built_in`.
    """
    return [folder] if is_built(folder) else built_in(folder)
