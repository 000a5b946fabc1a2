"""A release whose features.json lacks what every record needs is refused before reading; no source is named here."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vita_data import sources
from vita_data.errors import RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.features import FeatureKind, FeatureSpec, dump_features, parse_features
from vita_data.types import Episode, Failure


def changed(features: dict[str, FeatureSpec]) -> Iterator[tuple[str, dict[str, FeatureSpec]]]:
    """Take each key away in turn, make each vector wider or whole numbers, and each image or text a plain tensor."""
    for key, spec in features.items():
        yield f"without {key}", {name: other for name, other in features.items() if name != key}
        if spec.kind is FeatureKind.TENSOR and spec.dtype.startswith("float") and len(spec.shape) < 2:
            yield f"wider {key}", {**features, key: replace(spec, shape=(1 + (spec.shape or (1,))[0],))}  # type: ignore[operator]
            yield f"unsized {key}", {**features, key: replace(spec, shape=(None,))}
            yield f"whole {key}", {**features, key: replace(spec, dtype="int64")}
        if spec.kind is not FeatureKind.TENSOR:
            yield f"plain {key}", {**features, key: FeatureSpec(dtype="uint8", shape=spec.shape, num_levels=1)}


def num_failures(name: str, raw: Path) -> tuple[int, int]:
    source, tree = sources.load(name), FsspecTree(str(raw))
    settings = source.Settings()
    found = [one for part in source.parts(tree, settings) for one in source.episodes(tree, part, settings)]
    return sum(isinstance(one, Failure) for one in found), sum(isinstance(one, Episode) for one in found)


@pytest.mark.parametrize("name", sources.names())
def test_a_change_of_the_features_is_refused_or_harmless(name: str, toy_raw: Path, tmp_path: Path) -> None:
    files = list((toy_raw / name).rglob("features.json"))
    if not files:
        pytest.skip("its toy is not in RLDS form")
    raw = Path(shutil.copytree(toy_raw / name, tmp_path / name))
    file = raw / files[0].relative_to(toy_raw / name)
    refused: list[tuple[str, str]] = []
    for what, features in changed(parse_features(file.read_bytes())):
        file.write_text(dump_features(features))
        try:
            failed, good = num_failures(name, raw)
        except RequestError as error:
            refused.append((what, str(error)))
        else:
            assert (failed, good > 0) == (0, True), what
    assert len(refused) >= 4
    for what, told in refused:
        assert "features.json" in told
        assert what.split(maxsplit=1)[1].split("/")[-1] in told
        assert "\n" not in told
