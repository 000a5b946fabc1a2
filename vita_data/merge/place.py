"""Gives files a second place: by a link on one disk, inside a store by its own copy, else by a checked copy."""

import errno
import hashlib
import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from upath import UPath

from vita_data.errors import ShardError
from vita_data.storage.files import AnyPath, hold, publish, storage_errors, sync, temporary_for

_BLOCK = 1 << 22
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS})


class Placed(StrEnum):
    """How a file came to its second place."""

    LINKED = "linked"
    COPIED = "copied"


def place(source: AnyPath, target: AnyPath, *, sha256: str) -> Placed:
    """Place a file; it appears under its name complete and durable, or not at all.

    A link shares the bytes of a file that is never changed, only replaced; it outlives the removal of the other name.

    Raises:
        ShardError: it is no file, or the bytes that were copied do not match the checksum.
        StorageError: a disk or store is full or cannot be reached.
    """
    with storage_errors(target):
        if isinstance(source, Path) and not source.is_file():
            raise ShardError(f"{source}: expected a file; run `vita-data verify {source.parent.parent}`")
        if isinstance(source, Path) and isinstance(target, Path):
            # A symbolic link may lead to any file, so what it leads to is copied and compared with its checksum.
            if not source.is_symlink() and _link(source, target):
                return Placed.LINKED
        elif isinstance(source, UPath) and isinstance(target, UPath) and _is_one_store(source, target):
            source.fs.cp_file(source.path, target.path)
            return Placed.COPIED
        _copy(source, target, sha256)
    return Placed.COPIED


def _link(source: Path, target: Path) -> bool:
    """Link a file; False where the disk cannot."""
    temporary = temporary_for(target)
    try:
        os.link(source, temporary)
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise
    os.replace(temporary, target)
    # Replacing a file by a link to itself leaves both names.
    with suppress(FileNotFoundError):
        temporary.unlink()
    sync(target.parent)
    return True


def _is_one_store(source: UPath, target: UPath) -> bool:
    return source.protocol == target.protocol and source.storage_options == target.storage_options


def _copy(source: AnyPath, target: AnyPath, sha256: str) -> None:
    temporary, digest = temporary_for(target), hashlib.sha256()
    try:
        with source.open("rb") as raw, open(temporary, "wb") as file:
            hold(file)
            while block := raw.read(_BLOCK):
                digest.update(block)
                file.write(block)
            if digest.hexdigest() != sha256:
                raise ShardError(
                    f"{source}: does not match the card's sha256; run `vita-data verify {source.parent.parent}`"
                )
            file.flush()
            os.fsync(file.fileno())
            publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
