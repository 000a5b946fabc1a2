"""Several built sources become one: linked shards, one card, one set of statistics; a killed merge goes on."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vita_data
from tests.object_store import running_store
from vita_data.builder import BuildRequest, build
from vita_data.cli.main import main
from vita_data.curation.table import episode_table
from vita_data.merge import place as placing
from vita_data.normalize import FrameSelection
from vita_data.shards.index import read_card
from vita_data.shards.stats import load_stats
from vita_data.shards.verify import verify
from vita_data.sources import load
from vita_data.storage.files import open_path

NAMES = ("bridge", "fractal")


def merge(sources: list[Path] | list[str], out: Path | str, name: str = "robots") -> int:
    return main(["merge", *map(str, sources), "--out", str(out), "--name", name, "--quiet"])


def inputs(toy_shards: Path) -> list[Path]:
    return [toy_shards / name for name in NAMES]


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files but those in `.merge`."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {str(path): (folder / path).read_bytes() for path in files if not path.parts[0].startswith(".")}


def test_a_merged_source_has_all_clips_and_shares_their_bytes(
    toy_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(inputs(toy_shards), tmp_path) == 0
    assert "files linked, 0 copied, 0 from an earlier run" in capsys.readouterr().out
    folder, cards = tmp_path / "robots", [read_card(one) for one in inputs(toy_shards)]
    assert verify(folder).problems == ()
    card = read_card(folder)
    before = [vita_data.open_source(one, split=split) for split in ("train", "val") for one in inputs(toy_shards)]
    after = [vita_data.open_source(folder, split=split) for split in ("train", "val")]
    assert [clip.key for one in after for clip in one] == [clip.key for one in before for clip in one]
    assert card["outcomes"]["ok"] == sum(one["outcomes"]["ok"] for one in cards)
    assert card["drops"] == {reason: sum(one["drops"].get(reason, 0) for one in cards) for reason in card["drops"]}
    assert (card["hz"], card["embodiment"]) == (None, ["google_robot", "widowx"])
    shard = next((folder / "train").glob("*.tar"))
    assert shard.stat().st_nlink > 1
    assert shard.name.startswith("robots-train-")

    table = episode_table(folder)
    assert table["id"].to_list() == [id_ for one in inputs(toy_shards) for id_ in episode_table(one)["id"]]
    assert table.filter(table["outcome"] == "ok")["length_s"].min() > 0
    assert set(table["shard"].to_list()) - {""} <= {path.name for path in folder.rglob("*.tar")}
    actions = [clip.clip.action for clip in after[0]]
    rows = np.concatenate([action.track.values[action.is_valid] for action in actions if action is not None])
    found = load_stats(folder).source.action
    assert found is not None
    assert found.count == len(rows)
    assert found.mean[16] == pytest.approx(rows[:, 16].mean(), abs=1e-5)


def test_a_merged_source_trains_and_is_not_built_over(
    toy_shards: Path, toy_raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(inputs(toy_shards), tmp_path, "bridge") == 0
    with vita_data.open_loader(["bridge"], shards=tmp_path, stage="warmup", batch_size=8) as loader:
        batches = [next(loader) for _ in range(4)]
    keys = {key.split("-")[0] for batch in batches for key in batch.key}
    assert keys == set(NAMES)
    before = contents(tmp_path / "bridge")
    assert main(["build", "--source", "bridge", "--raw", str(toy_raw / "bridge"), "--out", str(tmp_path)]) == 2
    assert "was made by `vita-data merge`" in capsys.readouterr().err
    assert contents(tmp_path / "bridge") == before


def test_a_second_merge_does_nothing_and_another_one_is_refused(
    toy_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(inputs(toy_shards), tmp_path) == 0
    before = contents(tmp_path / "robots")
    capsys.readouterr()
    assert merge(inputs(toy_shards), tmp_path) == 0
    assert "merged before; nothing to do" in capsys.readouterr().out
    assert merge(list(reversed(inputs(toy_shards))), tmp_path) == 2
    assert "was merged from other sources" in capsys.readouterr().err
    assert contents(tmp_path / "robots") == before


@pytest.mark.parametrize("num_placed", [0, 1, 3])
def test_a_killed_merge_goes_on_and_gives_the_same_bytes(toy_shards: Path, tmp_path: Path, num_placed: int) -> None:
    assert merge(inputs(toy_shards), tmp_path / "whole") == 0
    script = (
        "import os, signal, sys\n"
        "from vita_data.cli.main import main\n"
        "from vita_data.merge import merge\n"
        "left, place = [int(sys.argv[1])], merge.place\n"
        "def dying(*given, **named):\n"
        "    if not left[0]:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    left[0] -= 1\n"
        "    return place(*given, **named)\n"
        "merge.place = dying\n"
        "main(sys.argv[2:])\n"
    )
    asked = ["merge", *map(str, inputs(toy_shards)), "--out", str(tmp_path / "killed"), "--name", "robots", "--quiet"]
    done = subprocess.run([sys.executable, "-c", script, str(num_placed), *asked], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "robots" / "dataset.json").exists()
    assert main(["verify", str(tmp_path / "killed" / "robots")]) == 2

    assert merge(inputs(toy_shards), tmp_path / "killed") == 0
    assert contents(tmp_path / "killed" / "robots") == contents(tmp_path / "whole" / "robots")


def test_where_links_are_impossible_the_bytes_are_copied_and_compared(
    toy_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(placing.os, "link", no_link)
    assert merge(inputs(toy_shards), tmp_path) == 0
    assert ", 0 from an earlier run" in capsys.readouterr().out
    shard = next((tmp_path / "robots" / "train").glob("*.tar"))
    assert shard.stat().st_nlink == 1
    assert verify(tmp_path / "robots").problems == ()

    copied = tmp_path / "damaged"
    for name in NAMES:
        shutil.copytree(toy_shards / name, copied / name)
    damaged = next((copied / "fractal" / "train").glob("*.tar"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    assert merge([copied / name for name in NAMES], tmp_path / "other") == 1
    told = capsys.readouterr().err
    assert f"{damaged}: does not match the card's sha256" in told
    assert not list((tmp_path / "other").rglob("*.tmp"))


def test_a_shard_that_is_a_link_is_copied_and_compared(
    toy_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a link leads to need not be the shard, so it is not shared unread."""
    folders = [shutil.copytree(toy_shards / name, tmp_path / "in" / name) for name in NAMES]
    shard = next((folders[0] / "train").glob("*.tar"))
    kept = shard.rename(tmp_path / "elsewhere.tar")
    shard.symlink_to(kept)
    assert merge(folders, tmp_path / "out") == 0
    assert "files linked, 1 copied" in capsys.readouterr().out
    assert kept.stat().st_nlink == 1
    assert verify(tmp_path / "out" / "robots").problems == ()

    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    assert merge(folders, tmp_path / "other") == 1
    assert f"{shard}: does not match the card's sha256" in capsys.readouterr().err
    assert not list((tmp_path / "other").rglob("*.tmp"))


def test_what_cannot_be_one_source_is_refused(
    toy_shards: Path, toy_raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(sources: list[Path]) -> str:
        assert merge(sources, tmp_path) == 2
        return capsys.readouterr().err

    bridge = toy_shards / "bridge"
    assert "expected at least two built sources" in told([bridge])
    assert "raw episodes (" in told([bridge, bridge])
    assert "the meaning of a simulator's commands is position_scale_m=0.05" in told(
        [toy_shards / "libero", toy_shards / "calvin"]
    )
    assert "--set resize is plain in the first and center_crop in the second" in told([bridge, toy_shards / "ssv2"])
    request = BuildRequest(
        source="fractal", raw=str(toy_raw / "fractal"), out=tmp_path / "all", settings=load("fractal").Settings(),
        frames=FrameSelection.ALL,
    )  # fmt: skip
    build(request)
    assert "--frames is keyframes in the first and all in the second" in told([bridge, tmp_path / "all" / "fractal"])
    assert not (tmp_path / "robots").exists()
    assert merge(inputs(toy_shards), tmp_path, "my robots") == 2


def test_a_merge_in_a_store_is_copied_by_the_store(toy_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_store() as store:
        bucket = store.make_bucket()
        for name in NAMES:
            store.upload(toy_shards / name, f"{bucket}/shards/{name}")
        sources = [f"{bucket}/shards/{name}" for name in NAMES]
        assert merge(sources, f"{bucket}/merged") == 0
        folder = open_path(f"{bucket}/merged/robots")
        assert verify(folder).problems == ()
        ok = sum(read_card(toy_shards / name)["outcomes"]["ok"] for name in NAMES)
        assert read_card(folder)["outcomes"]["ok"] == ok
        capsys.readouterr()
        assert merge(sources, f"{bucket}/merged") == 0
        assert "nothing to do" in capsys.readouterr().out
