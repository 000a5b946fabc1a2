"""Finds single records of RLDS files by the file and number that a clip's `provenance` gives."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from vita_data.errors import SourceError
from vita_data.formats.rlds.dataset import RldsDataset, read_shard
from vita_data.formats.rlds.record import RldsRecord
from vita_data.types import Json, RawTree


class RecordFinder:
    """Finds records; ascending numbers of a file read it once, because it remembers where it is."""

    def __init__(self, raw: RawTree, open_release: Callable[[str], RldsDataset]) -> None:
        """Look in a raw tree; `open_release` opens the folder `<name>/<version>` of a file."""
        self._raw, self._open_release = raw, open_release
        self._datasets: dict[str, RldsDataset] = {}
        self._file, self._next = "", 0
        self._records: Iterator[RldsRecord] = iter(())

    def find(self, provenance: Json) -> RldsRecord:
        """Read the record of a clip.

        Raises:
            SourceError: the file is not in the tree, is of another form, is damaged, or has fewer records.
        """
        file, wanted = str(provenance["file"]), int(str(provenance["record"]))
        if file.endswith(".parquet"):
            raise SourceError(f"{file}: only commands of RLDS files are compared, not those of LeRobot conversions")
        if file != self._file or wanted < self._next:
            self._records, self._file, self._next = read_shard(self._raw, self._dataset(file), file), file, 0
        for record in self._records:
            self._next = record.index + 1
            if record.index == wanted:
                return record
        self._file = ""
        raise SourceError(f"{file}: expected a record {wanted}, got {self._next}; is it the same download?")

    def _dataset(self, file: str) -> RldsDataset:
        release = str(PurePosixPath(file).parent)
        if release not in self._datasets:
            self._datasets[release] = self._open_release(release)
        return self._datasets[release]
