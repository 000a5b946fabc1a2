"""Tells what an unreadable file really is from its first bytes, size and name, for the error message.

Every opener of a raw file asks here before it calls the file damaged, so that "fetch it again" is advised only where it
helps: the same download method would fetch the same pointer, page or archive again.
"""

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from vita_data.errors import raise_machine_fault
from vita_data.formats.extents import stored_blocks
from vita_data.formats.raw_tree.disk import leads_nowhere
from vita_data.formats.raw_tree.regular import NotReadError, require_regular
from vita_data.formats.raw_tree.text_head import Finding, describe_text
from vita_data.types import RawTree

FETCH_AGAIN = "fetch the file again"
_HEAD_BYTES = 4096
_TAR_MAGIC_AT = 257
# Targets of links that programs create instead of files: the data, or the place where it will be.
_ANNEXED = "/annex/objects/"
_HUB_BLOB = re.compile(r"(^|/)blobs/[0-9a-f]{40,64}$")

Opened = str | bytes | BinaryIO | Callable[[], BinaryIO]
"""A file in the form that a reader has: its local path, its bytes, an open file, or a function that opens it."""


@dataclass(frozen=True, slots=True)
class _Magic:
    """The first bytes of a format, and what to do with a file of this format where another is expected."""

    kind: str
    what: str
    advice: str
    magic: bytes
    offset: int = 0


_DECOMPRESS, _UNPACK = "decompress it with {}", "unpack it with {}"
_OTHER = "replace it with the right file"
_MAGICS = (
    _Magic("gzip", "compressed with gzip", _DECOMPRESS.format("gunzip"), b"\x1f\x8b\x08"),
    _Magic("zstd", "compressed with Zstandard", _DECOMPRESS.format("unzstd"), b"\x28\xb5\x2f\xfd"),
    _Magic("xz", "compressed with xz", _DECOMPRESS.format("unxz"), b"\xfd7zXZ\x00"),
    _Magic("bzip2", "compressed with bzip2", _DECOMPRESS.format("bunzip2"), b"BZh"),
    _Magic("lz4", "compressed with LZ4", _DECOMPRESS.format("unlz4"), b"\x04\x22\x4d\x18"),
    _Magic("zip", "a zip archive", _UNPACK.format("unzip"), b"PK\x03\x04"),
    _Magic("zip", "an empty zip archive", FETCH_AGAIN, b"PK\x05\x06"),
    _Magic("tar", "a tar archive", _UNPACK.format("tar -xf"), b"ustar", _TAR_MAGIC_AT),
    _Magic("7z", "a 7z archive", _UNPACK.format("7z x"), b"7z\xbc\xaf\x27\x1c"),
    _Magic("rar", "a rar archive", _UNPACK.format("unrar x"), b"Rar!\x1a\x07"),
    _Magic("appledouble", "macOS metadata (AppleDouble), not the data", "remove it", b"\x00\x05\x16\x07"),
    _Magic("hdf5", "an HDF5 file", _OTHER, b"\x89HDF\r\n\x1a\n"),
    _Magic("npy", "a numpy array", _OTHER, b"\x93NUMPY"),
    _Magic("parquet", "a parquet file", _OTHER, b"PAR1"),
    _Magic("video", "a Matroska or WebM video", _OTHER, b"\x1aE\xdf\xa3"),
    _Magic("video", "an MP4 video", _OTHER, b"ftyp", 4),
    _Magic("jpeg", "a JPEG image", _OTHER, b"\xff\xd8\xff"),
    _Magic("png", "a PNG image", _OTHER, b"\x89PNG\r\n\x1a\n"),
    _Magic("gif", "a GIF image", _OTHER, b"GIF8"),
    _Magic("pdf", "a PDF document", _OTHER, b"%PDF-"),
    _Magic("arrow", "an Arrow file", _OTHER, b"ARROW1"),
    _Magic("sqlite", "an SQLite database", _OTHER, b"SQLite format 3\x00"),
)
# Name patterns of unfinished downloads: browsers, curl and wget wrappers, aria2, gcloud, gsutil, Hugging Face, rclone,
# rsync, azcopy, BitTorrent clients.
_UNFINISHED = (
    *(".part", ".partial", ".crdownload", ".download", ".opdownload", ".aria2", ".aria2__temp", ".incomplete", ".tmp"),
    *(".gstmp", "_.gstmp", ".lftp-pget-status", ".st", ".ytdl", ".!ut", ".!qB", ".bc!", ".unfinished"),
)


def unreadable(file: Opened, *, name: str, reason: str, own: Collection[str] = ()) -> str:
    """Describe in brackets what an unreadable file is, and what to do about it, as the end of a message.

    Args:
        file: the file, in the form that the reader has.
        name: its name in messages; the suffix matters.
        reason: the reader's reason, used if the file itself gives no hint.
        own: the kinds of `_MAGICS`, or `text`, that the reader expects; finding one of them explains nothing.

    Raises:
        StorageError: the machine is to blame, not the file: it may not be read, or its disk fails.
    """
    found = look(file, name=name, own=own)
    return f"({reason}); {FETCH_AGAIN}" if found is None else f"({found.what}); {found.advice}"


def unreadable_text(raw: RawTree, path: str, *, reason: str, advice: str = FETCH_AGAIN) -> str:
    """Like `unreadable`, for a text file of a raw tree, such as JSON; always includes `reason`.

    `advice` is used if the file's head gives no hint.
    """
    found = look(partial(raw.open, path), name=path, own={"text"})
    return f"({reason}); {advice}" if found is None else f"({reason}: {found.what}); {found.advice}"


def look(file: Opened, *, name: str, own: Collection[str] = ()) -> Finding | None:
    """Tell what a file is; None if it looks as expected or unknown; see `unreadable`."""
    try:
        head, size = _head(file)
    except OSError as error:
        raise_machine_fault(error, name)
        path = file if isinstance(file, str) else str(error.filename or "")
        return _link_to_nothing(path) or _unfinished(name, path) or _absent(error)
    if found := _unfinished(name, file if isinstance(file, str) else None):
        return found
    if not size:
        return Finding("empty (0 bytes)", FETCH_AGAIN)
    if not any(head):
        place = "all zeros" if len(head) == size else f"zeros for its first {len(head)} bytes"
        return Finding(f"{place}: its space was reserved but its data was never written", FETCH_AGAIN)
    known = [magic for magic in _MAGICS if head[magic.offset :].startswith(magic.magic)]
    if known:
        return None if known[0].kind in own else Finding(known[0].what, known[0].advice)
    return describe_text(head, is_whole=len(head) == size, is_text_expected="text" in own)


def require_readable(path: str, *, name: str) -> None:
    """Read a file to its end: C libraries may mistake a fault of the disk for damage or for the end of the file.

    Raises:
        StorageError: the machine cannot read it.
    """
    try:
        require_regular(path, name=name)
        with open(path, "rb") as file:
            for _ in stored_blocks(file.fileno(), os.fstat(file.fileno()).st_size):
                pass
    except OSError as error:
        raise_machine_fault(error, name)


def _head(file: Opened) -> tuple[bytes, int]:
    if isinstance(file, bytes):
        return file[:_HEAD_BYTES], len(file)
    if isinstance(file, str):
        require_regular(file, name=os.path.basename(file))
        with open(file, "rb") as opened:
            return _head(opened)
    if callable(file):
        with file() as opened:
            return _head(opened)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return file.read(_HEAD_BYTES), size


def _link_to_nothing(path: str) -> Finding | None:
    if not leads_nowhere(path):
        return None
    target = os.readlink(path) if os.path.islink(path) else ""
    if _ANNEXED in target:
        return Finding("a git-annex link to data that was not fetched", "run `git annex get` in its clone")
    if _HUB_BLOB.search(target):
        return Finding("a link to a file that is missing in the Hugging Face cache", "download it again")
    return Finding("a broken link", "restore its target, or fetch the file itself")


def _absent(error: OSError) -> Finding | None:
    if isinstance(error, NotReadError):
        return Finding(error.what, error.advice)
    if isinstance(error, IsADirectoryError):
        return Finding("a folder, not a file", _OTHER)
    if isinstance(error, FileNotFoundError):
        return Finding("the file does not exist", "fetch the missing part of the download")
    return None


def _unfinished(name: str, path: str | None) -> Finding | None:
    if name.endswith(_UNFINISHED):
        return Finding("an unfinished download", "wait until the download ends, or start it again")
    beside = next((suffix for suffix in _UNFINISHED if path and os.path.lexists(path + suffix)), None)
    if beside is None:
        return None
    return Finding(
        f"an unfinished download ({os.path.basename(name)}{beside} is beside it)",
        "wait until the download ends, or start it again",
    )
