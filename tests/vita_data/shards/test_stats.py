"""Statistics equal numpy's over valid rows, whatever way they were computed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vita_data.errors import ManifestError, ShardError
from vita_data.shards.index import open_source
from vita_data.shards.stats import Rows, column_stats, compute_stats, load_stats, write_stats
from vita_data.shards.verify import verify
from vita_data.types import Split

MASK = np.array([True, True, False])


def chunks() -> list[Rows]:
    rng = np.random.default_rng(0)
    rows: list[Rows] = []
    for size in (1000, 1, 4000):
        values = rng.normal([0.0, 5.0, 0.0], [1.0, 0.1, 0.0], (size, 3)).astype(np.float32)
        rows.append((values * MASK, MASK))
    return rows


def test_figures_equal_numpy_s() -> None:
    everything = np.concatenate([values for values, _ in chunks()]).astype(np.float64)[:, :2]
    stats = column_stats(chunks, 3)

    assert stats is not None
    assert stats.count == 5001
    np.testing.assert_allclose(stats.mean[:2], everything.mean(axis=0))
    np.testing.assert_allclose(stats.std[:2], everything.std(axis=0))
    np.testing.assert_array_equal(stats.q01[:2], np.quantile(everything, 0.01, axis=0))
    np.testing.assert_array_equal(stats.q99[:2], np.quantile(everything, 0.99, axis=0))
    np.testing.assert_array_equal(stats.max[:2], everything.max(axis=0))


def test_a_column_that_is_never_real_has_no_figures() -> None:
    stats = column_stats(chunks, 3)

    assert stats is not None
    assert stats.mask.tolist() == MASK.tolist()
    assert np.isnan([stats.mean[2], stats.std[2], stats.min[2], stats.max[2], stats.q01[2], stats.q99[2]]).all()


def test_beyond_the_limit_quantiles_come_from_a_fine_histogram() -> None:
    exact, binned = column_stats(chunks, 3), column_stats(chunks, 3, exact_rows=10)

    assert exact is not None
    assert binned is not None
    span = (exact.max - exact.min)[:2]
    assert np.all(np.abs(exact.q01 - binned.q01)[:2] < 5e-3 * span)
    assert np.all(np.abs(exact.q99 - binned.q99)[:2] < 5e-3 * span)


def test_nothing_real_gives_no_statistics() -> None:
    assert column_stats(lambda: [(np.zeros((3, 2), np.float32), np.zeros(2, bool))], 2) is None


def test_stats_json_reads_back_as_computed(toy_shards: Path) -> None:
    for folder in toy_shards.iterdir():
        computed = compute_stats(open_source(folder, Split.TRAIN))
        assert load_stats(folder).as_json() == json.loads(json.dumps(computed.as_json()))


def test_missing_statistics_are_refused_with_the_command(toy_shards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_shards / "bridge", tmp_path / "bridge"))
    (folder / "stats.json").unlink()

    with pytest.raises(ManifestError, match="vita-data stats"):
        load_stats(folder)


def test_a_changed_digit_in_the_statistics_is_refused_until_they_are_computed_again(
    toy_shards: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(toy_shards / "bridge", tmp_path / "bridge"))
    good = (folder / "stats.json").read_text()
    (folder / "stats.json").write_text(good.replace("1", "2", 1))

    with pytest.raises(ShardError, match=r"stats\.json: does not match"):
        load_stats(folder)
    assert any("stats.json" in problem for problem in verify(folder).problems)
    write_stats(folder)
    assert (folder / "stats.json").read_text() == good
    assert verify(folder).problems == ()


def test_statistics_carry_the_source_s_name_whatever_the_folder_is_called(toy_shards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_shards / "bridge", tmp_path / "renamed"))
    write_stats(folder)

    assert load_stats(folder).name == "bridge"
    assert (folder / "stats.json").read_text() == (toy_shards / "bridge" / "stats.json").read_text()
