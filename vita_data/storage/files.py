"""Access to built folders on a disk or an object store, with the same pathlib calls and atomic writes for both.

Local folders are `pathlib.Path`, others `upath.UPath` (fsspec underneath). A file appears under its final name only
when complete: on a disk by temporary name, fsync and rename; on an object store by completing the upload.
"""

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from upath import UPath

from vita_data.errors import BRING_BACK, FIX_THAT, FORBIDDEN, RequestError, StorageError, forbidden
from vita_data.installation import install_extra
from vita_data.storage.lock import Lock, try_lock

AnyPath = Path | UPath

MAX_CONNECTIONS = 256
"""Maximum number of concurrent reads of a store in one process; botocore's own default is 10."""
MAX_JSON_BYTES = 1 << 26
"""Most bytes of a card, statistics or a manifest; parsed, such a file takes up to 25 times as much memory."""
MAX_TABLE_BYTES = 1 << 30
"""Most bytes of an index, a list of episodes, or a note of a build's or merge's units."""
_NUM_PIECES = 2
"""Pieces of an upload sent in parallel; s3fs keeps each of them, 50 MiB or more, in memory."""
_PAST_END = 416
_STORES = frozenset({"s3", "s3a", "gs", "gcs"})
# Packages of the clients of object stores and of the Hugging Face hub, which raise other exceptions than OSError.
_CLIENTS = frozenset(
    {
        *("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "boto3"),
        *("huggingface_hub", "httpx", "httpx2"),
    }
)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file in a listing: its size, and when it was written (seconds since 1970; 0 if the store does not tell)."""

    num_bytes: int
    mtime_s: float


def store_options(address: str) -> dict[str, Any]:
    """Return the fsspec options of a store: no cached listings, many parallel reads, few upload pieces in memory."""
    if "://" not in address:
        return {}
    # Listings are not cached: another process may have just written.
    shared: dict[str, Any] = {"use_listings_cache": False}
    if not address.startswith(("s3://", "s3a://")):
        return shared
    return {**shared, "max_concurrency": _NUM_PIECES, "config_kwargs": {"max_pool_connections": MAX_CONNECTIONS}}


def address_text(name: str, folder: object) -> str:
    """Return the folder that a Python caller gives as text.

    Raises:
        RequestError: it is neither text nor a path.
    """
    if not isinstance(folder, str | Path | UPath):
        raise RequestError(f"{name}: expected the path of a folder, got {folder!r}")
    return str(folder)


def open_path(text: str) -> AnyPath:
    """Read a local path or a URL such as `s3://bucket/folder`.

    Raises:
        RequestError: the kind of address is unknown, or the package that reads it is not installed.
    """
    if "://" not in text:
        return Path(require_local(text))
    try:
        path: UPath = UPath(text, **store_options(text))
        fs = path.fs
    except (ImportError, ValueError) as error:
        raise RequestError(f"{text}: this kind of address cannot be opened ({unopened(text, error)})") from error
    if is_local_fs(fs):
        return Path(fs._strip_protocol(text))
    require_store(fs, path.path, address=text)
    return path


def unopened(address: str, error: Exception) -> str:
    """Explain why fsspec cannot open an address, and what to install if a package is missing."""
    is_s3 = address.startswith(("s3://", "s3a://"))
    return f"{error}; {install_extra('s3')}" if isinstance(error, ImportError) and is_s3 else str(error)


def expand_home(text: str) -> str:
    """Expand a leading `~`, which shells do not do in `--raw=~/x` or `KEY=~/x`."""
    return os.path.expanduser(text) if text.startswith("~") else text


def require_local(text: str) -> str:
    """Refuse an address where a local path is required, or one with a missing slash; return the path with `~` expanded.

    Raises:
        RequestError: it is not a local path.
    """
    scheme, colon, rest = text.partition(":/")
    if colon and rest.startswith("/"):
        raise RequestError(f"{text}: expected a local path, got an object store's address; give a local path")
    if colon and scheme in (*_STORES, "file"):
        raise RequestError(f"{text}: expected two slashes after the scheme; write {scheme}://{rest}")
    return expand_home(text)


def require_store(fs: fsspec.AbstractFileSystem, path: str, *, address: str) -> None:
    """Refuse an address that is not a bucket of an object store.

    Raises:
        RequestError: it is another kind of address, such as a web address or `memory://`, or the bucket is missing.
    """
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if not protocols & _STORES:
        raise RequestError(f"{address}: unsupported kind of address; give a local path or s3://bucket/folder")
    if not path.strip("/"):
        raise RequestError(f"{address}: the bucket is missing; write s3://bucket/folder")


def is_local_fs(fs: fsspec.AbstractFileSystem) -> bool:
    """Tell whether an fsspec file system is the local one."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    return "file" in protocols


@contextmanager
def storage_errors(where: object) -> Iterator[None]:
    """Turn exceptions of a disk or an object store into a one-line error, for a `with` block.

    FileNotFoundError and BrokenPipeError are not changed.

    Raises:
        StorageError: the storage is full, unreachable or denies access; names `where`.
    """
    try:
        yield
    except (FileNotFoundError, BrokenPipeError):
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _CLIENTS:
            raise
        code = getattr(error, "errno", None)
        if code in FORBIDDEN:
            raise StorageError(forbidden(getattr(error, "filename", None) or where, code)) from error
        raise StorageError(f"{where}: {describe_fault(error)}; {FIX_THAT}") from error


def describe_fault(error: BaseException) -> str:
    """Return the answer of a store in one line."""
    text = getattr(error, "strerror", None) or str(error) or repr(error)
    if isinstance(error, PermissionError) and error.errno is None:
        text = f"access denied ({text}): check the credentials and their permissions for this bucket"
    name = getattr(error, "filename", None)
    return " ".join(f"{text} ({name})".split()) if name else " ".join(str(text).split())


@contextmanager
def _writing(path: UPath) -> Iterator[None]:
    with storage_errors(path):
        try:
            yield
        except FileNotFoundError as error:
            # A store has no folders that could be missing, so it must be the bucket.
            raise StorageError(
                f"{path}: the bucket does not exist ({describe_fault(error)}); create it or correct --out"
            ) from error


@contextmanager
def _folder_stays(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{path}: its folder no longer exists; {BRING_BACK}") from error


def write_atomically(path: AnyPath, data: bytes) -> None:
    """Write a file that appears complete and durable, or not at all."""
    if not isinstance(path, Path):
        with _writing(path):
            path.fs.pipe_file(path.path, data)
        return
    temporary = temporary_for(path)
    try:
        with _folder_stays(path), open(temporary, "wb") as file:
            hold(file)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def hold(file: IO[bytes]) -> None:
    """Mark a temporary file as being written, until it is closed or this process ends."""
    try_lock(file)


def remove_abandoned(temporary: Path) -> None:
    """Remove a temporary file whose lock shows that no process is writing it."""
    with suppress(OSError), open(temporary, "rb") as file:
        if try_lock(file) is Lock.HELD:
            temporary.unlink(missing_ok=True)


def temporary_for(path: AnyPath) -> Path:
    """Return a local file name to write before `path` is published: beside it on a disk, in TMPDIR for an object store.

    The name is random, so that two writers of one file, on any machines, do not collide.
    """
    folder = path.parent if isinstance(path, Path) else Path(tempfile.gettempdir())
    return folder / f".{path.name}.{secrets.token_hex(6)}.tmp"


def publish(temporary: Path, path: AnyPath) -> None:
    """Give a complete, synced temporary file its final name durably; on an object store, upload it."""
    if not isinstance(path, Path):
        with _writing(path):
            path.fs.put_file(str(temporary), path.path)
        temporary.unlink()
        return
    with _folder_stays(path):
        os.replace(temporary, path)
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: AnyPath) -> None:
    """Remove a file if it exists."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
        return
    with storage_errors(path), suppress(FileNotFoundError):
        path.fs.rm_file(path.path)


def require_no_file(path: AnyPath, option: str) -> None:
    """Refuse a file where a folder is expected; `option` is the option that named it.

    Raises:
        RequestError: it is a file.
    """
    if isinstance(path, Path) and path.exists() and not path.is_dir():
        raise RequestError(f"{option} {path} is a file; give a folder")


def make_folder(path: AnyPath) -> None:
    """Make a folder and its parents; object stores need no folders."""
    if isinstance(path, Path):
        path.mkdir(parents=True, exist_ok=True)


def is_empty(folder: AnyPath) -> bool:
    """Tell whether a folder is empty or missing."""
    if isinstance(folder, Path):
        return not folder.exists() or not any(folder.iterdir())
    with storage_errors(folder):
        try:
            return not folder.fs.ls(folder.path, detail=False)
        except FileNotFoundError:
            return True


def list_files(folder: AnyPath) -> dict[str, FileInfo]:
    """List the files of a folder by name with one request; a missing folder is empty."""
    try:
        if isinstance(folder, Path):
            return _list_local(folder)
        with storage_errors(folder):
            found = folder.fs.ls(folder.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        str(entry["name"]).rsplit("/", 1)[-1]: FileInfo(num_bytes=int(entry["size"]), mtime_s=_mtime_s(entry))
        for entry in found
        if entry["type"] == "file"
    }


def _list_local(folder: Path) -> dict[str, FileInfo]:
    found: dict[str, FileInfo] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            # Another process may rename or remove a file between listing and stat.
            with suppress(FileNotFoundError):
                if entry.is_file():
                    stat = entry.stat()
                    found[entry.name] = FileInfo(num_bytes=stat.st_size, mtime_s=stat.st_mtime)
    return found


def _mtime_s(entry: dict[str, object]) -> float:
    when = entry.get("LastModified") or entry.get("mtime") or entry.get("updated")
    return float(when.timestamp()) if hasattr(when, "timestamp") else 0.0


def read_files(paths: Sequence[AnyPath], *, max_bytes: int = MAX_JSON_BYTES) -> list[bytes]:
    """Read many small files of one store, in parallel on an object store.

    Raises:
        StorageError: a file is a pipe, a device or longer than `max_bytes`, or a store does not answer.
    """
    if not paths or isinstance(paths[0], Path):
        found = [_read_regular(path, max_bytes) for path in paths if isinstance(path, Path)]
    else:
        wanted = [path.path for path in paths if isinstance(path, UPath)]
        ends = [max_bytes + 1] * len(wanted)
        with storage_errors(paths[0]):
            found = [_part(one) for one in paths[0].fs.cat_ranges(wanted, [0] * len(wanted), ends, on_error="return")]
    for path, data in zip(paths, found, strict=True):
        _require_size(path, len(data), max_bytes)
    return found


def read_notes(paths: Sequence[AnyPath]) -> list[bytes]:
    """Read what a build or merge notes of its units: one of a million episodes is unusual, but must not be lost.

    Raises:
        StorageError: as in `read_files`.
    """
    return read_files(paths, max_bytes=MAX_TABLE_BYTES)


def _require_size(path: AnyPath, num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise StorageError(f"{path}: expected at most {max_bytes} bytes, found more; replace it with the right file")


def _read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a file of a disk.

    Opening a pipe in a stranger's folder would wait, a device may never end, and a file with holes takes no place.

    Raises:
        StorageError: it is a pipe, a device or longer than `max_bytes`.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        kind = status.st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
            raise StorageError(
                f"{path}: expected a file, found a named pipe or a device; replace it with the right file"
            )
        _require_size(path, status.st_size, max_bytes)
        return file.read()


def read_ranges(path: AnyPath, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Read (offset, size) ranges of one file, in parallel on an object store; a short file gives short bytes."""
    if isinstance(path, Path):
        with open(path, "rb") as file:
            return [os.pread(file.fileno(), size, offset) for offset, size in ranges]
    wanted = [(offset, offset + size) for offset, size in ranges if size]  # s3fs reads all of a file for no bytes
    starts, ends = [start for start, _ in wanted], [end for _, end in wanted]
    with storage_errors(path):
        found = iter(path.fs.cat_ranges([path.path] * len(wanted), starts, ends, on_error="return") if wanted else ())
        return [_part(next(found)) if size else b"" for _, size in ranges]


def _part(found: bytes | Exception) -> bytes:
    if isinstance(found, bytes):
        return found
    # A store rejects a range that begins past the end; a disk returns nothing.
    answer = getattr(found.__cause__, "response", {})
    if answer.get("Error", {}).get("Code") in ("InvalidRange", "416") or getattr(found, "code", None) == _PAST_END:
        return b""
    raise found
