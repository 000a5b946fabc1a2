"""ArrayRecord files, the other form in which tensorflow-datasets stores records, read one record at a time.

The records are those of a TFRecord file. The package `array_record` knows the framing; the data sources of
tensorflow-datasets read with it too, and neither needs TensorFlow. It is an extra: it has no wheels for Windows.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from vita_data.errors import EpisodeError, RequestError, SourceError
from vita_data.formats.limits import MAX_LOST_RECORDS, MAX_RECORD_BYTES, MAX_SHARD_RECORDS
from vita_data.formats.raw_tree.file_head import FETCH_AGAIN, require_readable, unreadable
from vita_data.installation import install_extra

_READ = "readahead_buffer_size:0,max_parallelism:0"
"""No threads, whose buffers take 16 MB each: a worker's memory is limited, and one after the other is as fast."""
_WRITTEN = "group_size:1"
"""One record in each compressed chunk, as tensorflow-datasets writes it."""


def require_array_record(place: str) -> None:
    """Refuse ArrayRecord files that this installation cannot read.

    Args:
        place: the dataset_info.json, for the message.

    Raises:
        RequestError: the package is not installed.
    """
    try:
        _library()
    except ImportError as error:
        raise RequestError(
            f"{place}: its files are ArrayRecord, which needs array_record ({error}); {install_extra('arrayrecord')}"
        ) from error


def stream_array_records(local_path: Callable[[], str], *, name: str) -> Iterator[bytes | EpisodeError]:
    """Yield the records of a file in order, with one in memory at a time.

    If the data of a record do not match their checksum, or are not where the file's index says, the error is yielded in
    its place.

    Args:
        local_path: returns the file's path on this machine; called when the first record is requested.
        name: the file's name in messages.

    Raises:
        SourceError: the file is missing, incomplete, or not an ArrayRecord file; or its index lists more records than
            files have, or more than `MAX_LOST_RECORDS` that cannot be read.
        StorageError: the file may not be read, or the machine is to blame.
    """
    path = local_path()
    reader = _open(path, name)
    num_records, num_lost = reader.num_records(), 0
    if not 0 <= num_records <= MAX_SHARD_RECORDS:
        raise SourceError(
            f"{name}: its index lists {num_records:,} records, more than {MAX_SHARD_RECORDS:,}; {FETCH_AGAIN}"
        )
    for index in range(num_records):
        try:
            record = bytes(reader.read())
            yield record if len(record) <= MAX_RECORD_BYTES else _too_large(f"{name} record {index}", len(record))
        except (RuntimeError, ValueError, MemoryError) as error:
            require_readable(path, name=name)
            num_lost += 1
            if num_lost > MAX_LOST_RECORDS:
                raise SourceError(
                    f"{name}: more than {MAX_LOST_RECORDS:,} records are damaged; {FETCH_AGAIN}"
                ) from None
            yield EpisodeError(f"{name} record {index}: {_fault(error)}")
            reader = _open(path, name)  # one that has met damage reads nothing more
            reader.seek(min(index + 1, num_records - 1))


def _fault(error: Exception) -> str:
    """Say what is wrong with a record, without the error's text: it may have the absolute path, which must not get into
    a build's records. A ValueError or MemoryError is mostly a place in the index that is far beyond the file.
    """
    if isinstance(error, MemoryError):
        return f"the file asks for more memory than there is; {FETCH_AGAIN}, or give more with --memory-mb"
    return f"the data is damaged; {FETCH_AGAIN}"


def _too_large(where: str, num_bytes: int) -> EpisodeError:
    return EpisodeError(f"{where}: has {num_bytes} bytes, expected at most {MAX_RECORD_BYTES}; {FETCH_AGAIN}")


def _open(path: str, name: str) -> Any:
    reader = _library().ArrayRecordReader(path, _READ)
    if reader.ok():
        return reader
    require_readable(path, name=name)
    what = unreadable(path, name=name, reason="not a complete ArrayRecord file")
    raise SourceError(f"{name}: cannot be read {what}")


def write_array_records(path: Path, records: Iterable[bytes]) -> None:
    """Write `records` to a new file at `path`."""
    writer = _library().ArrayRecordWriter(str(path), _WRITTEN)
    for record in records:
        writer.write(record)
    writer.close()


def _library() -> Any:
    from array_record.python import array_record_module

    return array_record_module
