"""TFDS `features.json`: the type of each flat key of a record, read and written.

Covers the connectors that robot datasets use (FeaturesDict, Dataset and Sequence, Tensor, Scalar, Image, Text,
ClassLabel); keys of other kinds are omitted and cannot be read. The JSON is TFDS's own
(tensorflow_datasets/proto/feature.proto).
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from vita_data.errors import RequestError
from vita_data.formats.json_text import parse_json

_CONNECTORS = "tensorflow_datasets.core.features."


class FeatureKind(StrEnum):
    """What a feature's stored list means."""

    TENSOR = "tensor"
    IMAGE = "image"
    TEXT = "text"


class TensorEncoding(StrEnum):
    """How a tensor is stored: as numbers, or as one string of raw or deflated bytes per step."""

    NONE = "none"
    BYTES = "bytes"
    ZLIB = "zlib"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One flat key: `num_levels` sequences around a value of `shape` (None: unknown) and `dtype`."""

    kind: FeatureKind = FeatureKind.TENSOR
    dtype: str = "float32"
    shape: tuple[int | None, ...] = ()
    encoding: TensorEncoding = TensorEncoding.NONE
    num_levels: int = 0


def parse_features(text: bytes) -> dict[str, FeatureSpec]:
    """Read `features.json` into flat keys (`steps/observation/state`).

    Raises:
        ValueError: the text is not TFDS's features JSON.
    """
    root = parse_json(text)
    if not isinstance(root, dict) or "pythonClassName" not in root:
        raise ValueError("pythonClassName is missing at the top level")
    try:
        return dict(_walk(root, path="", num_levels=0))
    except KeyError as error:
        raise ValueError(f"a tensor without {error}") from error


def require_keys(
    features: Mapping[str, FeatureSpec], required: Iterable[str], *, place: str, any_of: Sequence[str] = ()
) -> None:
    """Refuse a release that lacks a key of any type; see `require_features`.

    Raises:
        RequestError: names the missing keys and the existing ones.
    """
    absent = [key for key in required if key not in features]
    if any_of and not any(key in features for key in any_of):
        absent.append(f"any of {', '.join(any_of)}")
    if absent:
        raise RequestError(
            f"{place} lacks {', '.join(absent)}: it is another dataset or a copy with features removed; it has: "
            f"{', '.join(sorted(features))}"
        )


def require_features(
    features: Mapping[str, FeatureSpec],
    required: Mapping[str, int | None],
    *,
    place: str,
    any_of: Sequence[str] = (),
    integers: Collection[str] = (),
) -> None:
    """Refuse a release without the required keys, once, before any record is read.

    Args:
        features: the content of `features.json`.
        required: number of floats per step of each required key; None: images or texts.
        place: the file, for the message.
        any_of: keys of which at least one is required.
        integers: keys of `required` whose values are whole numbers or booleans.

    Raises:
        RequestError: a key is missing, has another type, or its vectors have another width.
    """
    require_keys(features, required, place=place, any_of=any_of)
    for key, width in required.items():
        spec = features[key]
        expected = _expected(width, is_whole=key in integers)
        if not _is_as_expected(spec, width, is_whole=key in integers):
            raise RequestError(
                f"{place}: {key} is {spec.kind} {spec.dtype} {list(spec.shape)}, expected {expected}: it is another "
                "dataset or another version of it"
            )


def _expected(width: int | None, *, is_whole: bool) -> str:
    return (
        "encoded images or texts" if width is None else f"{width} {'whole numbers' if is_whole else 'floats'} per step"
    )


def _is_as_expected(spec: FeatureSpec, width: int | None, *, is_whole: bool) -> bool:
    if width is None:
        return spec.kind is not FeatureKind.TENSOR or spec.dtype == "string"
    kinds = ("int", "uint", "bool") if is_whole else ("float", "bfloat")
    size = None if None in spec.shape else math.prod(each or 0 for each in spec.shape)
    return spec.kind is FeatureKind.TENSOR and spec.dtype.startswith(kinds) and size == width


def dump_features(specs: Mapping[str, FeatureSpec]) -> str:
    """Write flat keys as `features.json`; keys with a level are put in one `Dataset` named by their first part."""
    tree: dict[str, object] = {}
    for path, spec in specs.items():
        *folders, leaf = path.split("/")
        node = tree
        for folder in folders:
            node = cast("dict[str, object]", node.setdefault(folder, {}))
        node[leaf] = spec
    return json.dumps(_dump_dict(tree, num_levels=0), indent=4)


def _walk(node: object, *, path: str, num_levels: int) -> Iterator[tuple[str, FeatureSpec]]:
    match node:
        case {"featuresDict": {"features": dict(children)}}:
            for name, child in children.items():
                yield from _walk(child, path=f"{path}/{name}" if path else name, num_levels=num_levels)
        case {"sequence": {"feature": child}}:
            yield from _walk(child, path=path, num_levels=num_levels + 1)
        case {"image": dict(image)}:
            yield (
                path,
                FeatureSpec(
                    kind=FeatureKind.IMAGE,
                    dtype=image.get("dtype") or "uint8",
                    shape=_shape(image),
                    num_levels=num_levels,
                ),
            )
        case {"text": _}:
            yield path, FeatureSpec(kind=FeatureKind.TEXT, dtype="string", num_levels=num_levels)
        case {"tensor": dict(tensor)}:
            yield (
                path,
                FeatureSpec(
                    dtype=tensor["dtype"],
                    shape=_shape(tensor),
                    num_levels=num_levels,
                    encoding=TensorEncoding(tensor.get("encoding") or "none"),
                ),
            )
        case {"classLabel": _}:
            yield path, FeatureSpec(dtype="int64", num_levels=num_levels)


def _shape(holder: Mapping[str, object]) -> tuple[int | None, ...]:
    match holder.get("shape"):
        case {"dimensions": list(dimensions)}:
            return tuple(None if int(size) < 0 else int(size) for size in dimensions)
    return ()


def _dump_dict(tree: Mapping[str, object], *, num_levels: int) -> dict[str, object]:
    children = {name: _dump_node(child, num_levels=num_levels) for name, child in tree.items()}
    return {"pythonClassName": f"{_CONNECTORS}features_dict.FeaturesDict", "featuresDict": {"features": children}}


def _dump_node(node: object, *, num_levels: int) -> dict[str, object]:
    if isinstance(node, FeatureSpec):
        return _dump_spec(node)
    folder = cast("Mapping[str, object]", node)
    if _depth(folder) == num_levels:
        return _dump_dict(folder, num_levels=num_levels)
    inner = {"feature": _dump_dict(folder, num_levels=num_levels + 1), "length": "-1"}
    return {"pythonClassName": f"{_CONNECTORS}dataset_feature.Dataset", "sequence": inner}


def _depth(folder: Mapping[str, object]) -> int:
    first = next(iter(folder.values()))
    return first.num_levels if isinstance(first, FeatureSpec) else _depth(cast("Mapping[str, object]", first))


def _dump_spec(spec: FeatureSpec) -> dict[str, object]:
    shape = {"dimensions": [str(-1 if size is None else size) for size in spec.shape]} if spec.shape else {}
    if spec.kind == FeatureKind.TEXT:
        return {"pythonClassName": f"{_CONNECTORS}text_feature.Text", "text": {}}
    if spec.kind == FeatureKind.IMAGE:
        image = {"shape": shape, "dtype": spec.dtype, "encodingFormat": "jpeg"}
        return {"pythonClassName": f"{_CONNECTORS}image_feature.Image", "image": image}
    name = "tensor_feature.Tensor" if spec.shape else "scalar.Scalar"
    tensor = {"shape": shape, "dtype": spec.dtype, "encoding": spec.encoding.value}
    return {"pythonClassName": _CONNECTORS + name, "tensor": tensor}
