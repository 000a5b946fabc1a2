"""Writes small RLDS trees in TFDS's layout, so that any reader of the real dataset can read a toy dataset."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vita_data.formats.rlds.array_record import write_array_records
from vita_data.formats.rlds.features import FeatureSpec, TensorEncoding, dump_features
from vita_data.formats.rlds.files import FileFormat
from vita_data.formats.rlds.tf_example import encode_example
from vita_data.formats.rlds.tfrecord import write_records

Values = NDArray[np.generic] | Sequence[bytes]
RldsValues = Mapping[str, Values]
"""Values by flat key: [T, *shape] under `steps`, else [*shape]; one byte string per step for images and texts."""


def write_rlds(
    root: str,
    *,
    release: str,
    features: Mapping[str, FeatureSpec],
    splits: Mapping[str, Sequence[Sequence[RldsValues]]],
    file_format: FileFormat = FileFormat.TFRECORD,
) -> None:
    """Write `<root>/<release>`, where the release is `<name>/<version>`.

    Args:
        root: the raw tree.
        release: `<name>/<version>`.
        features: the type of each flat key; keys of the steps have one level.
        splits: the records of each file, by split name.
        file_format: how the files store them.
    """
    name, version = release.split("/")
    folder = Path(root) / release
    folder.mkdir(parents=True, exist_ok=True)
    write = write_array_records if file_format is FileFormat.ARRAY_RECORD else write_records
    infos = []
    for split, files in splits.items():
        num_bytes = 0
        for index, records in enumerate(files):
            path = folder / f"{name}-{split}.{file_format}-{index:05d}-of-{len(files):05d}"
            write(path, [encode_example(_stored(record, features)) for record in records])
            num_bytes += path.stat().st_size
        infos.append(_split_info(split, [len(records) for records in files], num_bytes))
    (folder / "features.json").write_text(dump_features(features))
    (folder / "dataset_info.json").write_text(
        json.dumps(
            {"name": name, "version": version, "fileFormat": file_format, "splits": infos}, indent=2, sort_keys=True
        )
    )


def _split_info(split: str, lengths: Sequence[int], num_bytes: int) -> dict[str, object]:
    return {
        "name": split,
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "numBytes": str(num_bytes),
        "shardLengths": [str(length) for length in lengths],
    }


def _stored(record: RldsValues, features: Mapping[str, FeatureSpec]) -> dict[str, Values]:
    return {path: _stored_values(values, features[path]) for path, values in record.items()}


def _stored_values(values: Values, spec: FeatureSpec) -> Values:
    if not isinstance(values, np.ndarray) or spec.encoding is TensorEncoding.NONE:
        return values
    raw = [np.asarray(step, spec.dtype).tobytes() for step in (values if spec.num_levels else [values])]
    return raw if spec.encoding is TensorEncoding.BYTES else [zlib.compress(step) for step in raw]
