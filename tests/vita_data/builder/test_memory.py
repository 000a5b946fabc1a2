"""The bound on a worker's memory, on the inputs that converters die of; each build runs in a process of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vita_data.formats.rlds.tfrecord import read_records, write_records
from vita_data.formats.video.stream import write_toy_video
from vita_data.sources.ego4d import toy as ego4d_toy

MAX_BYTES = 1_500_000_000
SPARE_BYTES = 40_000_000
"""What a process may grow by once it is warm: allocators do not give everything back."""

BUILD = """
import json, resource, sys
from pathlib import Path
from vita_data.builder import BuildRequest, Listeners, build
from vita_data.normalize import FrameSelection
from vita_data.sources import load

name, raw, out, unit_bytes, frames = sys.argv[1:]
resident = []

def look(done):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident.append(pages * resource.getpagesize())

settings = load(name).Settings(unit_bytes=int(unit_bytes))
request = BuildRequest(source=name, raw=raw, out=Path(out), settings=settings, frames=FrameSelection(frames))
result = build(request, listeners=Listeners(on_unit=look))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"outcomes": result.card["outcomes"], "resident": resident, "peak": peak}))
"""


def measured(
    name: str, raw: Path, out: Path, *, unit_bytes: int = 2 << 30, frames: str = "keyframes"
) -> dict[str, object]:
    command = [sys.executable, "-c", BUILD, name, str(raw), str(out), str(unit_bytes), frames]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def repeat_tfrecord(toy: Path, root: Path, *, num_bytes: int, num_files: int) -> int:
    """Make a Bridge tree of `num_files` files that repeat the first toy records; returns the records in all."""
    shutil.copytree(toy, root)
    (release,) = root.glob("*/*")
    (first,) = release.glob("*train*-00000-of-*")
    records = list(read_records(str(first), name="toy"))
    repeats = max(num_bytes // num_files // sum(map(len, records)), 1)
    for path in release.glob("*.tfrecord-*"):
        path.unlink()
    for number in range(num_files):
        path = release / f"bridge_dataset-train.tfrecord-{number:05d}-of-{num_files:05d}"
        write_records(path, (record for _ in range(repeats) for record in records))
    info = json.loads((release / "dataset_info.json").read_text())
    split = next(split for split in info["splits"] if split["name"] == "train")
    split["shardLengths"] = [str(repeats * len(records))] * num_files
    (release / "dataset_info.json").write_text(json.dumps({**info, "splits": [split]}))
    return repeats * len(records) * num_files


def test_memory_does_not_grow_over_many_parts(toy_raw: Path, tmp_path: Path) -> None:
    num_records = repeat_tfrecord(toy_raw / "bridge", tmp_path / "raw", num_bytes=60_000_000, num_files=60)
    found = measured("bridge", tmp_path / "raw", tmp_path / "out", unit_bytes=1, frames="all")
    assert sum(found["outcomes"].values()) == num_records
    resident = found["resident"]
    assert len(resident) == 60
    assert max(resident[40:]) - max(resident[:20]) < SPARE_BYTES


@pytest.mark.slow
def test_memory_does_not_grow_over_many_videos(toy_raw: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_raw / "ssv2", tmp_path / "raw")
    (labels,) = (tmp_path / "raw" / "labels").glob("*train.json")
    items = json.loads(labels.read_text())
    (videos,) = {path.parent for path in (tmp_path / "raw").rglob("*.webm")}
    for number in range(100_000, 101_500):
        shutil.copy(videos / f"{items[0]['id']}.webm", videos / f"{number}.webm")
        items.append({**items[0], "id": str(number)})
    labels.write_text(json.dumps(items))
    found = measured("ssv2", tmp_path / "raw", tmp_path / "out", unit_bytes=2_000_000, frames="all")
    resident = found["resident"]
    assert len(resident) > 10
    third = len(resident) // 3
    assert max(resident[2 * third :]) - max(resident[:third]) < SPARE_BYTES


@pytest.mark.slow
def test_an_hour_of_video_stays_under_the_bound(tmp_path: Path) -> None:
    num_frames = 30 * 3600
    actions = tuple(
        ego4d_toy.ToyAction(start, start + 240, "#C C picks up a red cup from the table")
        for start in range(0, num_frames - 240, 100)
    )
    folder = "v2/video_540ss"
    video = ego4d_toy.ToyVideo(number=1, folder=folder, num_frames=num_frames, actions=actions)
    for below in (folder, "v2/annotations"):
        (tmp_path / "raw" / below).mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (30, 270, 480, 3), dtype=np.uint8)
    frames = (pictures[step % 30] for step in range(num_frames))
    write_toy_video(str(tmp_path / "raw" / folder / f"{video.uid}.mp4"), frames, fps=30, codec="mpeg4")
    for name, value in (
        ("ego4d.json", ego4d_toy.metadata_json([video])),
        ("v2/annotations/fho_main.json", ego4d_toy.actions_json([video])),
    ):
        (tmp_path / "raw" / name).write_text(json.dumps(value))
    for selection in ("keyframes", "all"):
        found = measured("ego4d", tmp_path / "raw", tmp_path / selection, frames=selection)
        assert found["outcomes"] == {"ok": len(actions)}
        assert found["peak"] < MAX_BYTES
        shutil.rmtree(tmp_path / selection)


@pytest.mark.slow
def test_a_tfrecord_of_ten_gigabytes_stays_under_the_bound(toy_raw: Path, tmp_path: Path) -> None:
    num_records = repeat_tfrecord(toy_raw / "bridge", tmp_path / "raw", num_bytes=10_000_000_000, num_files=1)
    found = measured("bridge", tmp_path / "raw", tmp_path / "out", frames="all")
    assert sum(found["outcomes"].values()) == num_records
    assert found["peak"] < MAX_BYTES
    shutil.rmtree(tmp_path / "raw")
    shutil.rmtree(tmp_path / "out")
