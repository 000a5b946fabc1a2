"""RLDS datasets in TFDS's layout `<name>/<version>`: dataset_info.json, features.json, *.tfrecord-*, *.array_record-*.

Finds releases, lists their files and reads their records; the source interprets the keys. Needs neither TensorFlow nor
tfds.
"""

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from weakref import WeakKeyDictionary

from vita_data.errors import RequestError, SourceError, raise_machine_fault
from vita_data.formats.json_text import parse_json
from vita_data.formats.raw_tree.file_head import look, unreadable_text
from vita_data.formats.rlds.array_record import require_array_record, stream_array_records
from vita_data.formats.rlds.features import FeatureSpec, parse_features
from vita_data.formats.rlds.files import (
    DEFAULT_SETTINGS,
    FileFormat,
    RldsSettings,
    RldsShard,
    format_of,
    list_shards,
    refuse_impossible_lengths,
    refuse_other_files,
)
from vita_data.formats.rlds.record import RldsRecord, record_id
from vita_data.formats.rlds.tfrecord import stream_records
from vita_data.guard import guarded
from vita_data.types import Failure, Outcome, Part, RawTree, Split

_ABSENT = (
    "cannot be read: dataset_info.json lists it, but the file is missing; fetch it, or build the existing files into "
    "another --out with --set shard_lengths=ignored"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RldsDataset:
    """A release: its folder `<name>/<version>`, its files and the type of each flat key."""

    release: str
    shards: tuple[RldsShard, ...]
    features: Mapping[str, FeatureSpec]
    file_format: FileFormat

    def split_of(self, record: RldsRecord) -> Split | None:
        """Return a record's split; None (hashed from its id) if the release has no validation or test split."""
        return record.split if any(shard.split is Split.VAL for shard in self.shards) else None


_OPENED: WeakKeyDictionary[RawTree, dict[tuple[str, RldsSettings], RldsDataset]] = WeakKeyDictionary()


def pick_release(raw: RawTree, names: Sequence[str], wanted: str | None) -> str:
    """Choose the folder `<name>/<version>` to read: the only one, or the requested one.

    Raises:
        RequestError: none exists, the requested one does not exist, or several exist and none was requested.
    """
    found = sorted(
        str(PurePosixPath(path).parent) for name in names for path in raw.glob(f"{name}/*/dataset_info.json")
    )
    if not found:
        hint = "; this is a version folder, give its grandparent" if raw.exists("dataset_info.json") else ""
        others = [str(PurePosixPath(path).parent) for path in raw.glob("*/*/dataset_info.json")]
        hint += f"; found {', '.join(others) or 'none'}"
        raise RequestError(
            f"--raw {raw.root}: expected <name>/<version>/dataset_info.json with name {' or '.join(names)}{hint}"
        )
    if wanted is not None and wanted not in found:
        raise RequestError(f"--set release={wanted}: not found in {raw.root}, which contains: {', '.join(found)}")
    if wanted is None and len(found) > 1:
        raise RequestError(f"--raw {raw.root} contains {' and '.join(found)}; choose one with --set release={found[0]}")
    return wanted or found[0]


def open_dataset(raw: RawTree, release: str, settings: RldsSettings = DEFAULT_SETTINGS) -> RldsDataset:
    """Read the two JSON files of `<name>/<version>`, once for a tree: each of 100,000 listed files may need them.

    Raises:
        RequestError: a requested split does not exist, or one must be chosen; or the files are ArrayRecord, and the
            package that reads them is not installed.
        SourceError: a file is missing or not a TFDS file, or the records have another file format.
    """
    opened = _OPENED.setdefault(raw, {})
    if (release, settings) not in opened:
        opened[release, settings] = _open(raw, release, settings)
    return opened[release, settings]


def _open(raw: RawTree, release: str, settings: RldsSettings) -> RldsDataset:
    info, features = _load_info(raw, f"{release}/dataset_info.json"), read_features(raw, release)
    file_format = format_of(info)
    if file_format is FileFormat.ARRAY_RECORD:
        require_array_record(f"{release}/dataset_info.json in {raw.root}")
    shards = tuple(list_shards(raw, release, info, settings))
    return RldsDataset(release=release, shards=shards, features=features, file_format=file_format)


def read_features(raw: RawTree, release: str) -> Mapping[str, FeatureSpec]:
    """Read the type of each flat key of `<name>/<version>`.

    Raises:
        SourceError: features.json is missing or not a TFDS file.
    """
    file = f"{release}/features.json"
    try:
        return parse_features(raw.read_bytes(file))
    except (OSError, ValueError) as error:
        raise_machine_fault(error, file)
        what = unreadable_text(raw, file, reason=str(error))
        raise SourceError(f"{file} in {raw.root}: not a valid TFDS features file {what}") from error


def list_parts(raw: RawTree, dataset: RldsDataset) -> list[Part]:
    """List the files as parts; a file that dataset_info.json lists but does not exist has 0 bytes.

    Raises:
        RequestError: the existing files are not those of its dataset_info.json (`refuse_other_files`), or cannot hold
            the records that it lists.
    """
    # One listing instead of two requests per file, for trees in an object store.
    folders = {str(PurePosixPath(shard.path).parent) for shard in dataset.shards}
    there = {path for folder in folders for path in raw.glob(f"{glob.escape(folder)}/*")}
    refuse_other_files(dataset.shards, there, f"{dataset.release}/dataset_info.json in {raw.root}")
    sizes = {shard.path: raw.size(shard.path) for shard in dataset.shards if shard.path in there}
    refuse_impossible_lengths(dataset.shards, sizes, f"{dataset.release}/dataset_info.json in {raw.root}")
    return sorted(
        (
            Part(
                id=shard.path,
                num_bytes=sizes.get(shard.path, 0),
                num_episodes=shard.num_records,
            )
            for shard in dataset.shards
            # TFDS writes no file for a shard without records, but may list it
            if shard.path in there or shard.num_records != 0
        ),
        key=lambda part: part.id,
    )


def read_shard(raw: RawTree, dataset: RldsDataset, path: str) -> Iterator[RldsRecord]:
    """Yield the records of one file in order.

    Raises:
        SourceError: the file is not in the dataset or damaged; names file and record.
    """
    shard = next((shard for shard in dataset.shards if shard.path == path), None)
    if shard is None:
        raise SourceError(f"{path}: the file is not listed in {dataset.release}/dataset_info.json")
    records = (
        stream_array_records(partial(raw.local_path, path), name=path)
        if dataset.file_format is FileFormat.ARRAY_RECORD
        else stream_records(partial(raw.open, path), name=path)
    )
    for index, data in enumerate(records):
        yield RldsRecord(data, file=path, index=index, split=shard.split, features=dataset.features)


def read_outcomes(
    raw: RawTree, dataset: RldsDataset, part: Part, convert: Callable[[RldsRecord], Outcome]
) -> Iterator[Outcome]:
    """Convert each record of a part; one that cannot be converted, or is listed but missing, becomes a Failure.

    Raises:
        SourceError: the file is damaged, and the number of lost records is unknown.
    """
    num_read = 0
    lost = f"the file ends before it; {dataset.release}/dataset_info.json lists {part.num_episodes} episodes"
    try:
        if not part.num_bytes and part.num_episodes is not None and not raw.exists(part.id):
            raise SourceError(f"{part.id}: {_ABSENT}")
        for record in read_shard(raw, dataset, part.id):
            yield guarded(record.id, partial(convert, record))
            num_read += 1
        if not num_read and part.num_episodes and (found := look(partial(raw.open, part.id), name=part.id)):
            lost = f"{part.id}: contains no record ({found.what}); {found.advice}"
    except SourceError as error:
        if part.num_episodes is None or num_read >= part.num_episodes:
            raise
        lost = str(error)
    for index in range(num_read, part.num_episodes or 0):
        yield Failure(episode=record_id(part.id, index), detail=lost)


def _load_info(raw: RawTree, file: str) -> Mapping[str, object]:
    try:
        info = parse_json(raw.read_bytes(file))
    except (OSError, ValueError) as error:
        raise_machine_fault(error, file)
        what = unreadable_text(raw, file, reason=str(error))
        raise SourceError(f"{file} in {raw.root}: cannot be read {what}") from error
    if not isinstance(info, dict) or not info.get("name") or not isinstance(info.get("splits"), list):
        what = unreadable_text(raw, file, reason="name or splits missing")
        raise SourceError(f"{file} in {raw.root}: not a valid TFDS file {what}")
    try:
        format_of(info)
    except ValueError:
        expected = " or ".join(FileFormat)
        raise SourceError(f"{file} in {raw.root}: expected fileFormat {expected}, got {info['fileFormat']!r}") from None
    return info
