"""A source that reads RLDS releases as a declaration says, such as any set of Open X-Embodiment."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from vita_data.declared.arm import Table
from vita_data.declared.commands import compare_columns
from vita_data.declared.declaration import RldsDeclaration
from vita_data.declared.rows import Recorded, make_episode, pair_rows, require_rows, source_info
from vita_data.declared.toy import ToyDemo, toy_demos
from vita_data.formats.encoded_frames import EncodedFrames
from vita_data.formats.rlds.dataset import RldsDataset, list_parts, open_dataset, pick_release, read_outcomes
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, require_features
from vita_data.formats.rlds.files import FileFormat, RldsSettings
from vita_data.formats.rlds.find import RecordFinder
from vita_data.formats.rlds.record import RldsRecord
from vita_data.formats.rlds.write import RldsValues, write_rlds
from vita_data.formats.toy import toy_jpeg
from vita_data.types import (
    Clip,
    CommandPair,
    CommandReader,
    Drop,
    Episode,
    Float64,
    Outcome,
    Part,
    RawTree,
    SourceSettings,
)

_WHOLE = ("int", "uint", "bool")
_LAYOUT = "<name>/<version>: dataset_info.json, features.json, <name>-<split>.{tfrecord,array_record}-XXXXX-of-YYYYY"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredRldsSettings(RldsSettings):
    """Settings (`--set`) of a declared RLDS source."""

    release: str | None = None
    """`<name>/<version>`, required if the raw tree contains several."""


class RldsSource:
    """A `Source` made from a declaration."""

    Settings: type[SourceSettings] = DeclaredRldsSettings

    def __init__(self, declaration: RldsDeclaration) -> None:
        self.declaration = declaration
        self.INFO = source_info(declaration, raw_layout=_LAYOUT)

    def parts(self, raw: RawTree, settings: SourceSettings) -> list[Part]:
        """List the files of the release.

        Raises:
            RequestError: no release exists, several exist and none was chosen, or it is not as declared.
            SourceError: its JSON files cannot be read.
        """
        declared, settings = self.declaration, _own(settings)
        dataset = open_dataset(raw, pick_release(raw, declared.datasets, settings.release), settings)
        keys = [camera.key for camera in declared.cameras]
        keys += [] if declared.text_column is None else [declared.text_column]
        required: dict[str, int | None] = {**declared.columns, **dict.fromkeys(keys)}
        place = f"{dataset.release}/features.json in {raw.root}"
        require_features(dataset.features, required, place=place, integers=_whole(dataset.features))
        return list_parts(raw, dataset)

    def episodes(self, raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
        """Read one file; every step of an episode is a row.

        Raises:
            SourceError: the file is damaged, and dataset_info.json does not tell how many episodes are lost.
        """
        dataset = open_dataset(raw, str(PurePosixPath(part.id).parent), _own(settings))
        return read_outcomes(raw, dataset, part, partial(self._outcome, dataset, settings))

    def _outcome(self, dataset: RldsDataset, settings: SourceSettings, record: RldsRecord) -> Episode | Drop:
        declared = self.declaration
        columns = self._columns(record, _whole(dataset.features))
        cameras = {camera: EncodedFrames(record.byte_strings(camera.key)) for camera in declared.cameras}
        recorded = Recorded(
            id=record.id,
            release=dataset.release,
            split=dataset.split_of(record),
            hz=settings.hz or declared.hz,
            texts=self._texts(record),
            cameras=cameras,
            provenance={"file": record.file, "record": record.index},
        )
        num_rows = require_rows(columns, cameras, name=record.id)
        return make_episode(declared, recorded, pair_rows(columns, num_rows, rows_to_action=declared.rows_to_action))

    def _columns(self, record: RldsRecord, whole: Set[str]) -> Table:
        columns = self.declaration.columns
        return {key: _values(record, key, width, is_whole=key in whole) for key, width in columns.items()}

    def _texts(self, record: RldsRecord) -> list[str]:
        key = self.declaration.text_column
        found = [] if key is None else record.texts(key)
        return [text for text in dict.fromkeys(found) if text.strip()] or [""]

    def command_reader(self, raw: RawTree, settings: SourceSettings) -> CommandReader:
        """Make a reader of recorded and rebuilt commands, or of reached poses if the actions are those."""
        finder = RecordFinder(raw, lambda release: open_dataset(raw, release, _own(settings)))
        return partial(self._compare, finder)

    def _compare(self, finder: RecordFinder, clip: Clip) -> tuple[CommandPair, ...]:
        record = finder.find(clip.provenance)
        columns = self._columns(record, _whole(record.features))
        return compare_columns(self.declaration, clip, columns, name=record.id)

    def write_toy(self, root: str, *, file_format: FileFormat = FileFormat.TFRECORD) -> None:
        """Write a small release that is as declared: train with 2 files."""
        declared = self.declaration
        release = f"{declared.datasets[0]}/1.0.0"
        demos = [_record(declared, demo) for demo in toy_demos(declared)]
        splits = {"train": [demos[:2], demos[2:]]}
        write_rlds(root, release=release, features=_features(declared), splits=splits, file_format=file_format)


def _own(settings: SourceSettings) -> DeclaredRldsSettings:
    if not isinstance(settings, DeclaredRldsSettings):
        raise TypeError(f"expected DeclaredRldsSettings, got {type(settings).__name__}")
    return settings


def _whole(features: Mapping[str, FeatureSpec]) -> set[str]:
    return {key for key, spec in features.items() if spec.dtype.startswith(_WHOLE)}


def _values(record: RldsRecord, key: str, width: int, *, is_whole: bool) -> Float64:
    values = record.ints(key).astype(np.float64) if is_whole else record.floats(key)
    return values.reshape(len(values), width)


def _features(declared: RldsDeclaration) -> dict[str, FeatureSpec]:
    image = FeatureSpec(kind=FeatureKind.IMAGE, dtype="uint8", shape=(None, None, 3), num_levels=1)
    features = {key: FeatureSpec(shape=(width,), num_levels=1) for key, width in declared.columns.items()}
    features |= {camera.key: image for camera in declared.cameras}
    if declared.text_column is not None:
        levels = int(declared.text_column.startswith("steps/"))
        features[declared.text_column] = FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=levels)
    return features


def _record(declared: RldsDeclaration, demo: ToyDemo) -> RldsValues:
    values: dict[str, np.ndarray | list[bytes]] = dict(demo.columns)
    values |= {key: [toy_jpeg(image) for image in images] for key, images in demo.frames.items()}
    if (key := declared.text_column) is not None:
        values[key] = [demo.text.encode()] * (demo.num_rows if key.startswith("steps/") else 1)
    return values
