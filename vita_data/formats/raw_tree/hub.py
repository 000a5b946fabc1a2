"""Reads a dataset repository of the Hugging Face hub: `hf://datasets/ORG/NAME[@REVISION][/FOLDER]`.

Address, token and cache come from the environment, as for every client of the hub: `HF_ENDPOINT` (a mirror),
`HF_TOKEN`, `HF_HOME`. The revision is resolved to a commit once, so that a build reads one state of the repository.
Files that are read as a whole go to the cache of the hub's client and stay there; of tables only the needed ranges are
fetched.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from vita_data.errors import RequestError
from vita_data.formats.raw_tree.objects import Copies, ObjectFolder
from vita_data.installation import install_extra
from vita_data.storage.files import storage_errors

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

SCHEME = "hf://"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<folder>.*))?"
)
_KIND = "dataset"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAddress:
    """A folder of a repository in one revision."""

    repo: str
    revision: str | None
    folder: str

    @classmethod
    def read(cls, text: str, where: str | None = None) -> "HubAddress":
        """Read an address; `where` names it in messages.

        Raises:
            RequestError: it does not name a dataset repository.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise RequestError(
                f"{where or text}: expected hf://datasets/ORG/NAME, optionally with @REVISION and /FOLDER"
            )
        revision = found["revision"]
        return cls(
            repo=found["repo"],
            revision=None if revision is None else unquote(revision),
            folder=(found["folder"] or "").strip("/"),
        )

    @property
    def path(self) -> str:
        """The path in the hub's file system."""
        revision = "" if self.revision is None else f"@{quote(self.revision, safe='')}"
        return f"datasets/{self.repo}{revision}/{self.folder}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFolder:
    """A folder of the hub that was found."""

    fs: "HfFileSystem"
    address: HubAddress
    """With the commit as revision."""


def open_hub(root: str, where: str) -> HubFolder | Path:
    """Find a folder of the hub; offline (`HF_HUB_OFFLINE`), its copy in the cache, which may lack files.

    Messages call it `where`.

    Raises:
        RequestError: it does not exist, may not be read, or the hub's client is not installed.
        StorageError: the hub does not answer.
    """
    address = HubAddress.read(root, where)
    try:
        from huggingface_hub import HfApi, HfFileSystem, constants
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise RequestError(f"{where}: the hub needs huggingface_hub ({error}); {install_extra('train')}") from error
    if constants.HF_HUB_OFFLINE:
        return _cached_folder(where, address)
    with storage_errors(where):
        try:
            found = HfApi(library_name="vita-data").dataset_info(address.repo, revision=address.revision)
        except GatedRepoError as error:
            raise RequestError(
                f"{where}: its owner asks for consent; give it on the page of the dataset, then set HF_TOKEN"
            ) from error
        except RepositoryNotFoundError as error:
            raise RequestError(
                f"{where}: found no dataset {address.repo} on {constants.ENDPOINT}; check the name, or set "
                "HF_TOKEN to a token that may read it"
            ) from error
        except RevisionNotFoundError as error:
            raise RequestError(f"{where}: the dataset has no revision {address.revision!r}") from error
    return HubFolder(
        fs=HfFileSystem(), address=HubAddress(repo=address.repo, revision=found.sha, folder=address.folder)
    )


def _cached_folder(where: str, address: HubAddress) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(address.repo, repo_type=_KIND, revision=address.revision, local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise RequestError(
            f"{where}: HF_HUB_OFFLINE is set and the cache has nothing of this dataset; unset it, or fetch the "
            f"dataset with `hf download --repo-type dataset {address.repo}`"
        ) from error
    return Path(snapshot) / address.folder


@contextmanager
def _called_each_second(function: Callable[[], None]) -> Iterator[None]:
    """Call a function while the `with` block runs: the hub's client does not tell how far a file has come."""
    ended = threading.Event()

    def call() -> None:
        while not ended.wait(1.0):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class HubObjects(ObjectFolder):
    """Finds files and folders of the hub."""

    def exists(self, path: str) -> bool:
        """Tell whether a file or folder exists; nothing outside the repository does."""
        return ".." not in path.split("/") and super().exists(path)


class HubCopies(Copies):
    """Files in the cache of the hub's client, which are shared with other programs and stay there."""

    def __init__(self, folder: HubFolder, *, on_answer: Callable[[], None]) -> None:
        super().__init__(folder.fs, on_answer=on_answer)
        self._on_answer = on_answer
        self._address = folder.address
        self._root = HubAddress(repo=folder.address.repo, revision=folder.address.revision, folder="").path

    def path_of(self, path: str, *, where: str) -> str:
        """Fetch a file into the cache unless it is there; if it does not exist, neither does the returned path.

        Raises:
            StorageError: the hub does not answer or denies access, or the disk of the cache is full.
        """
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        address, name = self._address, self._name(path)
        with storage_errors(where), _called_each_second(self._on_answer):
            try:
                return str(hf_hub_download(address.repo, name, repo_type=_KIND, revision=address.revision))
            except EntryNotFoundError:
                return str(Path(constants.HF_HUB_CACHE) / "missing" / name)

    def find(self, path: str) -> str | None:
        """Return the cached file of a path; None if it is not in the cache."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(
            self._address.repo, self._name(path), revision=self._address.revision, repo_type=_KIND
        )
        return found if isinstance(found, str) else None

    def remove(self) -> None:
        """Leave the files in the cache."""

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self._root}/")
