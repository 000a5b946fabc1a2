"""`import vita_data` is enough: lazily, without torch, and with loaders from paths, names and weights."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import vita_data
from vita_data.errors import ManifestError, RequestError

MANIFEST = Path(__file__).parents[2] / "manifests" / "toy.toml"


def test_importing_it_imports_no_numpy_and_every_name_is_there() -> None:
    code = "import sys, vita_data; print(*sorted({'torch', 'numpy', 'polars'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
    assert all(hasattr(vita_data, name) for name in vita_data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = vita_data.absent


@pytest.mark.parametrize(
    ("module", "typo", "meant"), [("vita_data", "open_sorce", "open_source"), ("vita_model", "VitaPolcy", "VitaPolicy")]
)
def test_python_suggests_the_name_that_was_meant(module: str, typo: str, meant: str) -> None:
    code = f"import {module}; {module}.{typo}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.rstrip().endswith(f"Did you mean: '{meant}'?")


def test_a_manifest_by_path_names_and_weights_give_batches(toy_shards: Path) -> None:
    for mixture in (MANIFEST, str(MANIFEST), ["bridge", "libero"], {"bridge": 2.0, "libero": 1.0}):
        with vita_data.open_loader(mixture, shards=toy_shards, stage="warmup", batch_size=8) as loader:
            batch = next(loader)
        assert len(batch) == 8
    assert loader.plan.pools
    for wrong in ([], ["shards/bridge"], [Path("bridge")], {"bridge": "1"}, {"bridge": 0.0}):
        with pytest.raises(ManifestError, match="expected the path of a manifest, names of built sources"):
            vita_data.open_loader(wrong, shards=toy_shards)
    with pytest.raises(ManifestError, match=r"with weights above 0; found -1 for 'libero'$"):
        vita_data.open_loader({"bridge": 1, "libero": -1}, shards=toy_shards)
    with pytest.raises(ManifestError, match="expected each source once"):
        vita_data.open_loader(["bridge", "bridge"], shards=toy_shards)


@pytest.mark.parametrize(
    ("mixture", "hint"),
    [
        ("tooy", "the manifest 'toy'"),
        ("brigde", "'bridge'"),
        (["brigde", "libero"], "'bridge'"),
        ("pretrian", "'pretrain'"),
    ],
)
def test_a_mistyped_name_is_told_what_it_is_like(toy_shards: Path, mixture, hint: str) -> None:
    with pytest.raises(ManifestError, match=rf"is not built in {toy_shards}; did you mean .*{hint}\?$"):
        vita_data.open_loader(mixture, shards=toy_shards)
    with pytest.raises(ManifestError, match=rf"is not built in {toy_shards}; did you mean .*{hint}\?$"):
        vita_data.Plan.from_manifest(mixture, shards=toy_shards, stage="cotrain", batch_size=8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"starts": "row"}, "expected starts to be keyframes or rows, got 'row'"),
        ({"horizon": 3.5}, "expected horizon to be a whole number from 1, got 3.5"),
        ({"futures": -1}, "expected futures to be a whole number from 0, got -1"),
        ({"futures": 1, "min_futures": 2}, "expected min_futures to be 0 to futures=1, got 2"),
        ({"frame_interval_s": "1"}, "expected frame_interval_s to be a number of seconds above 0, got '1'"),
        ({"chunk_s": 0.0}, "expected chunk_s to be None or a number of seconds above 0, got 0.0"),
        ({"views": ("wrist",)}, "expected views to be distinct cameras among primary, .* got"),
        ({"views": ("wrist_right", "primary")}, "expected views to be .* primary first, got"),
    ],
)
def test_windows_that_cannot_be_cut_name_their_field(toy_shards: Path, changed, message: str) -> None:
    spec = vita_data.WindowSpec(**{"starts": "rows", "horizon": 4, "futures": 0, **changed})
    with pytest.raises(RequestError, match=f"windows: {message}"):
        vita_data.open_loader(["bridge"], shards=toy_shards, stage="finetune", windows=spec)


@pytest.mark.parametrize(
    ("mixture", "changed", "message"),
    [
        (None, {}, "mixture None: expected the path of a manifest, names of built sources"),
        (3, {}, "mixture 3: expected the path of a manifest, names of built sources"),
        (["bridge"], {"rank": "0"}, "rank: expected a whole number, got '0'"),
        (["bridge"], {"world_size": 1.0}, "world_size: expected a whole number, got 1.0"),
        (["bridge"], {"seed": "a"}, "seed: expected a whole number from 0 to .*, got 'a'"),
        (["bridge"], {"seed": 1.5}, "seed: expected a whole number from 0 to .*, got 1.5"),
        (["bridge"], {"seed": True}, "seed: expected a whole number from 0 to .*, got True"),
        (["bridge"], {"joints": "yes"}, "joints: expected True or False, got 'yes'"),
        (["bridge"], {"batch_size": np.float64(8)}, "batch_size: .* needs a whole number"),
        (["bridge"], {"shards": None}, "shards: expected the path of a folder, got None"),
    ],
)
def test_an_argument_of_another_type_is_told_in_one_sentence(toy_shards: Path, mixture, changed, message: str) -> None:
    with pytest.raises(RequestError, match=f"^{message}"):
        vita_data.open_loader(mixture, **{"shards": toy_shards, "stage": "finetune", **changed})


def test_whole_numbers_of_numpy_give_the_same_batches(toy_shards: Path) -> None:
    def plan(kind):
        sizes = (kind(4), {"paired": kind(4)})
        numbers = {"seed": kind(3), "rank": kind(0), "world_size": kind(1)}
        for size in sizes:
            with vita_data.open_loader(
                ["bridge"], shards=toy_shards, stage="finetune", batch_size=size, **numbers
            ) as loader:
                yield loader.plan.hash, next(loader).key

    assert list(plan(np.int64)) == list(plan(int))


def test_a_source_is_opened_by_a_path() -> None:
    with pytest.raises(RequestError, match=r"^folder: expected the path of a folder, got 5$"):
        vita_data.open_source(5)


def test_windows_must_be_a_spec(toy_shards: Path) -> None:
    with pytest.raises(RequestError, match="windows: expected a WindowSpec, got dict"):
        vita_data.open_loader(["bridge"], shards=toy_shards, windows={"horizon": 4})


def test_names_are_drawn_by_windows_and_weights_as_given(toy_shards: Path) -> None:
    with vita_data.open_loader({"bridge": 3.0, "libero": 1.0}, shards=toy_shards, stage="finetune") as loader:
        (pools,) = loader.plan.pools.values()
        assert sorted(round(one.share, 6) for one in pools) == [0.25, 0.75]
    with vita_data.open_loader(["bridge", "libero"], shards=toy_shards, stage="finetune") as loader:
        (pools,) = loader.plan.pools.values()
        windows = [one.pool.num_windows for one in pools]
        assert [one.share for one in pools] == pytest.approx([count / sum(windows) for count in windows])


def test_own_windows_and_a_plan_from_a_path(toy_shards: Path) -> None:
    spec = vita_data.WindowSpec(starts=vita_data.Starts.ROWS, horizon=4, futures=0)
    with vita_data.open_loader(["bridge"], shards=toy_shards, stage="finetune", batch_size=4, windows=spec) as loader:
        assert next(loader).action.shape == (4, 4, 14)
    plan = vita_data.Plan.from_manifest(str(MANIFEST), shards=toy_shards, stage="warmup", batch_size=8)
    assert plan.manifest.name == "toy"


def test_a_position_is_saved_and_taken_up_again(toy_shards: Path) -> None:
    def opened() -> vita_data.loader.loader.Loader:
        return vita_data.open_loader(MANIFEST, shards=toy_shards, stage="cotrain", batch_size=4)

    with opened() as loader:
        next(loader)
        position = loader.state_dict()
        expected = next(loader)
    with opened() as loader:
        loader.load_state_dict(position)
        assert next(loader).key == expected.key


def test_it_is_a_dataset_of_torch_and_refuses_its_workers(toy_shards: Path) -> None:
    with vita_data.open_loader(MANIFEST, shards=toy_shards, stage="cotrain", batch_size=4) as loader:
        keys = [batch.key for batch in islice(DataLoader(loader, batch_size=None), 3)]
    with vita_data.open_loader(MANIFEST, shards=toy_shards, stage="cotrain", batch_size=4) as loader:
        assert [next(loader).key for _ in range(3)] == keys
        with pytest.raises(RequestError, match="num_workers=0"):
            next(iter(DataLoader(loader, batch_size=None, num_workers=1)))


def test_a_split_is_chosen_and_a_closed_loader_says_so(toy_shards: Path) -> None:
    with vita_data.open_loader(["bridge"], shards=toy_shards, stage="finetune", split="val", batch_size=2) as loader:
        assert set(next(loader).key) <= {clip.key for clip in vita_data.open_source(toy_shards / "bridge", split="val")}
        assert repr(loader) == "Loader(mixture, finetune, step 1, batches of paired 2)"
    with pytest.raises(RequestError, match="the loader is closed"):
        iter(loader)
    with pytest.raises(RequestError, match="expected train or val, got 'test'"):
        vita_data.open_loader(["bridge"], shards=toy_shards, split="test")


def test_ranks_share_a_batch(toy_shards: Path) -> None:
    def keys(rank: int, world_size: int) -> list[str]:
        with vita_data.open_loader(
            MANIFEST, shards=toy_shards, stage="cotrain", batch_size=4, rank=rank, world_size=world_size
        ) as loader:
            return next(loader).key

    assert keys(0, 2) + keys(1, 2) == keys(0, 1)


def test_a_batch_is_short_to_look_at_and_moves(toy_shards: Path) -> None:
    with vita_data.open_loader(["bridge"], shards=toy_shards, stage="finetune", batch_size=4) as loader:
        batch = next(loader)
    assert repr(batch).startswith("Batch(paired, 4 samples (bridge 4): images uint8 [4, 2, 256, 256, 3], ")
    assert len(repr(batch)) < 500
    assert "<table>" in batch._repr_html_()
    moved = batch.to("meta")
    assert moved.images is not None
    assert moved.images.device == torch.device("meta")
    assert moved.key == batch.key
