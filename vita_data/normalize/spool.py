"""Holds the images of one clip until they are written: in memory, and beyond a limit in an unnamed temporary file.

Ten minutes of four cameras at 30 Hz are too much for a worker's memory.
"""

import os
import tempfile
import weakref
from dataclasses import dataclass
from typing import BinaryIO

from vita_data.errors import StorageError

MAX_MEMORY_BYTES = 256 << 20
"""Bytes of one clip's images that are kept in memory."""


class Spool:
    """Keeps byte strings; the file, if any, exists as long as the spool or any of its byte strings."""

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self._left = max_bytes
        self._file: BinaryIO | None = None
        self._end = 0

    def keep(self, data: bytes) -> "bytes | SpooledBytes":
        """Keep `data` in memory, or in the file after `max_bytes`.

        Raises:
            StorageError: the disk of the temporary files is full.
        """
        if len(data) <= self._left:
            self._left -= len(data)
            return data
        self._left = 0
        try:
            num_written = self._open().write(data)
        except OSError as error:
            raise _full(error.strerror or str(error)) from error
        if num_written != len(data):
            raise _full(f"{num_written} of {len(data)} bytes written")
        kept = SpooledBytes(self, self._end, len(data))
        self._end += len(data)
        return kept

    def read(self, offset: int, size: int) -> bytes:
        """Read back from the file.

        Raises:
            StorageError: the bytes are missing.
        """
        try:
            data = os.pread(self._open().fileno(), size, offset)
        except OSError as error:
            raise _full(error.strerror or str(error)) from error
        if len(data) != size:
            raise _full(f"{len(data)} of {size} bytes found at {offset}")
        return data

    def _open(self) -> BinaryIO:
        if self._file is None:
            # Unbuffered, so that written bytes can be read at once. The system removes the file with its last handle.
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the spool
            weakref.finalize(self, self._file.close)
        return self._file


@dataclass(frozen=True, slots=True)
class SpooledBytes:
    """Bytes in the file of a spool."""

    spool: Spool
    offset: int
    size: int

    def read(self) -> bytes:
        """Read the bytes.

        Raises:
            StorageError: the bytes are missing.
        """
        return self.spool.read(self.offset, self.size)


def _full(what: str) -> StorageError:
    return StorageError(
        f"the temporary file for a long clip's images in {tempfile.gettempdir()} cannot be used ({what}); free "
        "space there or set TMPDIR to a larger disk, and run the same command again"
    )
