"""Which files an RLDS release has: the splits of `dataset_info.json`, and how TFDS names their files.

Source: tensorflow/datasets, core/naming.py, ShardedFileTemplate: shards are numbered from 0 with at least five digits,
or as many as the total needs.
"""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from vita_data.errors import RequestError, SourceError
from vita_data.formats.limits import (
    MAX_INTEGER_DIGITS,
    MAX_LOST_RECORDS,
    MAX_PATH_CHARS,
    MAX_SHARD_RECORDS,
    MAX_SHARDS,
)
from vita_data.formats.raw_tree.regular import is_below
from vita_data.types import RawTree, SourceSettings, Split

_SPLITS = {"train": Split.TRAIN, "val": Split.VAL, "validation": Split.VAL, "test": Split.VAL}
_DEFAULT_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_VARIABLE = re.compile(r"\{(\w+)\}")
_MIN_DIGITS = 5
MIN_RECORD_BYTES = 16
"""A record without data: its length and two checksums."""
_INDEX, _TOTAL, _INDEX_OF_TOTAL = "SHARD_INDEX", "NUM_SHARDS", "SHARD_X_OF_Y"
_EXPRESSIONS = {_INDEX: r"\d{5,}", _TOTAL: r"(\d{5,})", _INDEX_OF_TOTAL: r"\d{5,}-of-(\d{5,})"}


class FileFormat(StrEnum):
    """How the files of a release store their records, as `fileFormat` of dataset_info.json says."""

    TFRECORD = "tfrecord"
    ARRAY_RECORD = "array_record"


class ShardLengths(StrEnum):
    """Which files a split has: those that dataset_info.json lists, or all that exist in the folder."""

    LISTED = "listed"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class RldsSettings(SourceSettings):
    """Settings (`--set`) of every RLDS release."""

    splits: tuple[str, ...] = ()
    """Splits of dataset_info.json to read; empty means all. A split other than train, val, validation or test has 5%
    of its episodes, by hash, as val."""
    shard_lengths: ShardLengths = ShardLengths.LISTED
    """`ignored` reads all existing files with any numbering; a missing file is then not detected."""


DEFAULT_SETTINGS = RldsSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardNames:
    """The paths of the files of one split; `template` has only the variables of a shard."""

    template: str

    @staticmethod
    def of(
        template: str, *, folder: str, dataset: str, split: str, file_format: FileFormat = FileFormat.TFRECORD
    ) -> "ShardNames":
        """Fill in the variables that are the same for all files of a split.

        Args:
            template: `filepathTemplate` of dataset_info.json; empty means TFDS's default.
            folder: the folder of the files.
            dataset: the dataset's name in dataset_info.json.
            split: the split's name.
            file_format: that of the files.

        Raises:
            ValueError: the template has a variable twice or one that TFDS does not know, or leads out of the folder.
        """
        filled = template or _DEFAULT_TEMPLATE
        for key, value in (("DATASET", dataset), ("SPLIT", split), ("FILEFORMAT", file_format.value)):
            filled = filled.replace(f"{{{key}}}", value)
        keys = _VARIABLE.findall(filled)
        if unknown := [key for key in keys if key not in _EXPRESSIONS]:
            raise ValueError(f"the filepathTemplate {template!r} has an unknown variable {{{unknown[0]}}}")
        if len(set(keys)) < len(keys):  # numbers beside numbers can be told apart in more ways than can be tried
            raise ValueError(f"the filepathTemplate {template!r} has a variable twice")
        if not is_below(filled) or len(filled) > MAX_PATH_CHARS:
            raise ValueError(f"expected a path in the release's folder, got {filled!r:.80}")
        return ShardNames(template=f"{folder}/{filled}")

    def path(self, index: int, *, total: int) -> str:
        """Return the path of file number `index` of `total`."""
        num_digits = max(len(str(total)), _MIN_DIGITS)
        number, all_ = f"{index:0{num_digits}d}", f"{total:0{num_digits}d}"
        filled = {_INDEX: number, _TOTAL: all_, _INDEX_OF_TOTAL: f"{number}-of-{all_}"}
        return _VARIABLE.sub(lambda match: filled[match[1]], self.template)

    @property
    def pattern(self) -> str:
        """Return a glob pattern that finds every file of the split, with any number, and maybe others (see `total`)."""
        return "*".join(glob.escape(text) for text in _VARIABLE.split(self.template)[::2])

    def total(self, path: str) -> str | None:
        """Return the split's number of files from a path; "" if names do not tell, None if it is not a shard's path."""
        pieces = _VARIABLE.split(self.template)
        pieces[::2] = map(re.escape, pieces[::2])
        pieces[1::2] = (_EXPRESSIONS[key] for key in pieces[1::2])
        match = re.fullmatch("".join(pieces), path)
        return None if match is None else next(iter(match.groups()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RldsShard:
    """One file: its path in the raw tree, its split (None: hashed) and its records."""

    path: str
    split: Split | None
    num_records: int | None
    """None if not known before reading."""
    names: ShardNames
    """The names of all files of its split."""


def format_of(info: Mapping[str, object]) -> FileFormat:
    """Return the format of a release's files from the content of its dataset_info.json.

    Raises:
        ValueError: it is another format.
    """
    return FileFormat(str(info.get("fileFormat") or FileFormat.TFRECORD))


def list_shards(raw: RawTree, release: str, info: Mapping[str, object], settings: RldsSettings) -> Iterator[RldsShard]:
    """Yield the files of the chosen splits: the listed ones, or the existing ones if none are listed.

    Args:
        raw: the raw tree.
        release: `<name>/<version>`.
        info: the content of its dataset_info.json.
        settings: which splits to read, and whether to use the listed record counts.

    Raises:
        RequestError: a requested split does not exist, or one must be chosen.
        SourceError: the splits are not in TFDS's format.
    """
    place = f"{release}/dataset_info.json in {raw.root}"
    entries = _named_entries(info["splits"], place)
    chosen = _chosen_splits([name for name, _ in entries], settings.splits, place)
    for name, entry in entries:
        if name in chosen:
            yield from _split_shards(raw, release, info, name, entry, settings, place)


def refuse_other_files(shards: Sequence[RldsShard], there: Set[str], place: str) -> None:
    """Refuse a release whose files are not those that its dataset_info.json lists.

    Builders that write in parallel number their empty files too, but list only the lengths of the others
    (kpertsch/rlds_dataset_builder, issue 15); or the dataset_info.json belongs to another release.

    Args:
        shards: the result of `list_shards`.
        there: the existing paths in their folders.
        place: the dataset_info.json, for messages.

    Raises:
        RequestError: no listed file of a split exists, but files of another total do; unlisted files have several
            totals; or no file exists at all.
    """
    for names in dict.fromkeys(shard.names for shard in shards):
        listed = [shard for shard in shards if shard.names == names]
        found = sorted(path for path in there if names.total(path) is not None)
        totals = sorted({names.total(path) or "" for path in found})
        if listed[0].num_records is None and len(totals) > 1:
            raise RequestError(
                f"{place}: the folder holds files with different totals ({', '.join(totals)}), such as {found[0]} and "
                f"{found[-1]}, and no shardLengths tell which belong together; keep only the files of one total"
            )
        if found and there.isdisjoint(shard.path for shard in listed):
            raise RequestError(
                f"{place}: expected {len(listed)} files, the first {listed[0].path}, but none of them exists; "
                f"{len(found)} files with another total do, such as {found[0]}. Fetch the dataset_info.json of the "
                "same "
                "release as the files, or the files that it lists. If these are all the files (some builders do not "
                "list empty ones), --set shard_lengths=ignored reads them; it cannot tell whether a file is missing"
            )
    if there.isdisjoint(shard.path for shard in shards):
        held = ", ".join([PurePosixPath(path).name for path in sorted(there)][:5])
        expected = f"expected {shards[0].path}" if shards else "no file is listed"
        raise RequestError(f"{place}: none of its files exists, {expected}; found {held or 'no file'}")


def refuse_impossible_lengths(shards: Sequence[RldsShard], sizes: Mapping[str, int], place: str) -> None:
    """Refuse record counts that the files cannot hold; each missing record would become a failed episode.

    Args:
        shards: the result of `list_shards`.
        sizes: the bytes of each existing file.
        place: the dataset_info.json, for messages.

    Raises:
        RequestError: a file, or all together, would lack more records than any truncated download.
    """
    num_lost = 0
    for shard in shards:
        possible = sizes.get(shard.path, 0) // MIN_RECORD_BYTES
        lost = max(0, (shard.num_records or 0) - possible)
        num_lost += lost
        if lost > MAX_LOST_RECORDS or num_lost > 10 * MAX_LOST_RECORDS:
            raise RequestError(
                f"{place}: shardLengths lists {shard.num_records} records for {shard.path}, whose "
                f"{sizes.get(shard.path, 0)} bytes hold at most {possible}; fetch the file again"
            )


def refuse_rlds_settings(settings: RldsSettings) -> None:
    """Refuse settings that have no effect because the source was found in another form than RLDS.

    Raises:
        RequestError: one of these settings was given.
    """
    if settings.splits or settings.shard_lengths is not ShardLengths.LISTED:
        raise RequestError(
            "--set splits and --set shard_lengths apply only to RLDS files, and none are read here; omit them"
        )


def _named_entries(found: object, place: str) -> list[tuple[str, Mapping[str, object]]]:
    entries: list[tuple[str, Mapping[str, object]]] = []
    for entry in found if isinstance(found, list) else []:
        match entry:
            case {"name": str(name)} if name:
                entries.append((name, entry))
            case _:
                raise SourceError(f"{place}: split {entry!r:.80} has no name; fetch it again")
    return entries


def _chosen_splits(found: Sequence[str], asked: Sequence[str], place: str) -> frozenset[str]:
    """Choose the splits to read: the requested ones, else all, unless a split may repeat the others.

    A split whose name is not one of TFDS's usual ones may contain others or parts of them: `all`, `train_eval`.
    """
    if absent := sorted(set(asked) - set(found)):
        raise RequestError(
            f"--set splits={','.join(asked)}: {', '.join(absent)} not found in {place}; it has {', '.join(found)}"
        )
    unknown = [name for name in found if name not in _SPLITS]
    if not asked and unknown and len(found) > 1:
        raise RequestError(
            f"{place}: it has the splits {', '.join(found)}, and {', '.join(unknown)} may repeat episodes of others "
            f"(expected {', '.join(_SPLITS)}); choose splits, for example --set splits={found[0]}"
        )
    return frozenset(asked or found)


def _shard_lengths(found: object, place: str) -> list[int]:
    """Read the record counts of a split's files: a list of digit strings, which TFDS omits if unknown."""
    if found is None:
        return []
    if isinstance(found, list) and all(_is_count(length) for length in found):
        lengths = [int(str(length)) for length in found]
        if max(lengths, default=0) <= MAX_SHARD_RECORDS and len(lengths) <= MAX_SHARDS:
            return lengths
    raise SourceError(f"{place}: expected a list of counts as shardLengths, got {found!r:.80}; fetch the file again")


def _is_count(length: object) -> bool:
    digits = str(length)
    return digits.isdecimal() and len(digits) <= MAX_INTEGER_DIGITS


def _split_shards(
    raw: RawTree, release: str, info: Mapping[str, object], name: str, entry: Mapping[str, object],
    settings: RldsSettings, place: str,
) -> Iterator[RldsShard]:  # fmt: skip
    is_listed, split = settings.shard_lengths is ShardLengths.LISTED, _SPLITS.get(name)
    lengths = _shard_lengths(entry.get("shardLengths") if is_listed else None, place)
    try:
        names = ShardNames.of(
            str(entry.get("filepathTemplate") or ""),
            folder=release,
            dataset=str(info["name"]),
            split=name,
            file_format=format_of(info),
        )
    except ValueError as error:
        raise SourceError(f"{place}: split {name}: {error}; fetch it again") from error
    paths = [names.path(index, total=len(lengths)) for index in range(len(lengths))]
    if len(set(paths)) < len(paths):
        raise SourceError(f"{place}: {len(paths)} shardLengths for the single file {paths[0]}; fetch it again")
    for path, length in zip(paths, lengths, strict=True):
        yield RldsShard(path=path, split=split, num_records=length, names=names)
    for path in [] if lengths else raw.glob(names.pattern):
        if names.total(path) is not None:
            yield RldsShard(path=path, split=split, num_records=None, names=names)
