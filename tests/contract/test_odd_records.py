"""One odd raw episode costs itself alone, in every source; none is named here."""

import errno
from pathlib import Path

import numpy as np
import pytest

from vita_data import sources
from vita_data.builder import BuildRequest
from vita_data.builder.plan import PlannedPart
from vita_data.builder.reading import part_outcomes
from vita_data.errors import StorageError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.rlds.tf_example import FeatureValues, decode_feature, encode_example, index_example
from vita_data.formats.rlds.tfrecord import read_records, write_records
from vita_data.types import Episode, Outcome, Part

RLDS = "*/*/dataset_info.json"


def parts(name: str, root: Path) -> list[Part]:
    source = sources.load(name)
    return source.parts(FsspecTree(str(root)), source.Settings())


def found(name: str, root: Path, part: Part) -> list[tuple[str, type[Outcome]]]:
    """The id and the kind of every raw episode of a part."""
    source = sources.load(name)
    request = BuildRequest(source=name, raw=str(root), out=Path("unused"), settings=source.Settings())
    outcomes = part_outcomes(source, FsspecTree(str(root)), PlannedPart(part=part), request)
    return [(one.id if isinstance(one, Episode) else one.episode, type(one)) for one in outcomes]


@pytest.mark.parametrize("name", sources.names())
def test_an_exception_of_any_kind_costs_the_episode_that_it_is_of(
    name: str, toy_raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = toy_raw / name
    read = ((part, found(name, root, part)) for part in parts(name, root))
    part, clean = next((part, of_part) for part, of_part in read if Episode in dict(of_part).values())
    odd = next(id_ for id_, kind in clean if kind is Episode)
    make = Episode.__init__

    def fail_with(error: BaseException) -> None:
        def made(self: Episode, **values: object) -> None:
            if values["id"] == odd:
                raise error
            make(self, **values)  # type: ignore[arg-type]

        monkeypatch.setattr(Episode, "__init__", made)

    for error in (IndexError("list index out of range"), StopIteration(), ZeroDivisionError()):
        fail_with(error)
        assert [(id_, kind.__name__) for id_, kind in found(name, root, part)] == [
            (id_, "Failure" if id_ == odd else kind.__name__) for id_, kind in clean
        ]
    fail_with(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StorageError):
        found(name, root, part)


def odd_values(values: FeatureValues) -> list[FeatureValues]:
    """No value, one value, and values of another type."""
    other: FeatureValues = [b"nan"] * len(values) if isinstance(values, np.ndarray) else np.zeros(len(values), np.int64)
    return [[], values[:1], other]


@pytest.mark.parametrize("name", sources.names())
def test_an_odd_value_under_any_key_of_a_record_costs_no_other_record(name: str, toy_raw: Path, tmp_path: Path) -> None:
    info = next(iter(sorted((toy_raw / name).glob(RLDS))), None)
    if info is None:
        pytest.skip("not in RLDS form")
    folder = tmp_path / info.parent.relative_to(toy_raw / name)
    folder.mkdir(parents=True)
    for path in info.parent.iterdir():
        (folder / path.name).symlink_to(path)
    part = parts(name, tmp_path)[0]
    (_, kind), *_ = found(name, tmp_path, part)
    good = next(iter(read_records(str(tmp_path / part.id), name=part.id)))
    whole = {key: decode_feature(message) for key, message in index_example(good).items()}
    odd = [encode_example({**whole, key: value}) for key, values in whole.items() for value in odd_values(values)]
    (tmp_path / part.id).unlink()
    write_records(tmp_path / part.id, [good, *odd, good])
    again = found(name, tmp_path, part)

    assert [id_ for id_, _ in again] == [f"{part.id}#{number:05d}" for number in range(len(odd) + 2)]
    assert again[0][1] is again[-1][1] is kind is Episode
