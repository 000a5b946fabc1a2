"""Opens a built source for an export, and refuses what may not or cannot be exported."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vita_data.builder.names import stored_name
from vita_data.dataset import BuiltSource
from vita_data.errors import RequestError
from vita_data.normalize import FrameSelection
from vita_data.shards.card_fields import settings_of
from vita_data.shards.index import read_card, source_name
from vita_data.storage.files import AnyPath, require_no_file
from vita_data.storage.whole_folder import appearing, temporary_for
from vita_data.types import Clip, Json, Split

IN_HOUSE = "--in-house"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is exported, and where to."""

    folder: AnyPath
    """The built source."""
    out: Path
    """A folder that does not exist or is empty."""
    splits: tuple[Split, ...] = tuple(Split)
    in_house: bool = False
    """Whether the user says that the export is not passed on, which some licences demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export wrote."""

    folder: str
    num_clips: int
    num_episodes: int
    """Of a LeRobot dataset, in which a clip with gaps gives several; otherwise the number of clips."""
    num_rows: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSource:
    """A built source that may be exported."""

    name: str
    title: str
    releases: tuple[str, ...]
    licence: str
    redistributable: bool
    url: str
    has_every_row: bool
    """Whether every row has its images, and not only one row a second."""
    has_depth: bool
    splits: tuple[BuiltSource, ...]

    @property
    def num_clips(self) -> int:
        """The number of clips to export."""
        return sum(len(split) for split in self.splits)

    def clips(self) -> Iterator[Clip]:
        """Read the clips one by one, split by split."""
        for split in self.splits:
            yield from clips_of(split)


def clips_of(split: BuiltSource) -> Iterator[Clip]:
    """Read the clips of a split one by one, with texts that a table can hold."""
    return (_with_utf8_texts(stored.clip) for stored in split)


def _with_utf8_texts(clip: Clip) -> Clip:
    r"""Write half of a surrogate pair, which a raw text may contain, as an escape: no table can hold it."""
    texts = (clip.instruction, *clip.instructions)
    if all(text.text == stored_name(text.text) for text in texts):
        return clip
    first, *others = (replace(text, text=stored_name(text.text)) for text in texts)
    return replace(clip, instruction=first, instructions=tuple(others))


def open_for_export(request: ExportRequest) -> OpenedSource:
    """Open a built source.

    Raises:
        ManifestError: nothing is built in the folder.
        RequestError: the output is taken, the licence forbids passing on, or there is no clip.
    """
    require_free(request.out)
    card = read_card(request.folder)
    name = source_name(card)
    opened = OpenedSource(
        name=name,
        title=str(card["title"]),
        releases=_strings(card, "release"),
        licence=str(card["licence"]),
        redistributable=card["redistributable"] is True,
        url=str(card["url"]),
        has_every_row=card["frames"] == FrameSelection.ALL,
        has_depth=settings_of(card).get("depth") is True,
        splits=tuple(BuiltSource(request.folder, split=split) for split in request.splits),
    )
    if not opened.redistributable and not request.in_house:
        raise RequestError(
            f"{request.folder}: the licence of {name} ({opened.licence}) forbids passing the data on; if the export "
            f"stays in house, add {IN_HOUSE}"
        )
    if not opened.num_clips:
        raise RequestError(f"{request.folder}: no clip in {' or '.join(request.splits)}; there is nothing to export")
    return opened


def require_free(out: Path) -> None:
    """Refuse an output that is a file or has content.

    Raises:
        RequestError: it is.
    """
    require_no_file(out, "--out")
    if out.is_dir() and any(out.iterdir()):
        raise RequestError(f"--out {out} is not empty; give a new folder, or remove this one")


@contextmanager
def export_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `out` when complete, and removed after an error."""
    final = out.resolve()
    try:
        with appearing(final) as folder:
            yield folder
    except BaseException:
        shutil.rmtree(temporary_for(final), ignore_errors=True)
        raise


def _strings(card: Json, key: str) -> tuple[str, ...]:
    found = card[key]
    return tuple(str(one) for one in found) if isinstance(found, list) else ()
