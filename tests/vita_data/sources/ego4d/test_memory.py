"""Ego4D annotations of the release's size in one worker: memory stays within what a worker may take."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from vita_data.sources.ego4d import source as ego4d

FILE_BYTES = 1_000_000_000
WORKER_BYTES = 1_500_000_000
NUM_NARRATIONS = 3_850_000
# what a unit does, thrice through a tree of its own; the last line is the process's peak in bytes
UNITS = """
import resource, sys, time
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.sources import ego4d

settings = ego4d.Settings(mode=ego4d.Mode(sys.argv[2]))
parts = ego4d.parts(FsspecTree(sys.argv[1]), settings)
first_s = time.process_time()
for part in parts[:3]:
    assert len(list(ego4d.episodes(FsspecTree(sys.argv[1]), part, settings))) == part.num_episodes
print(f"{sum(part.num_episodes for part in parts)} raw episodes; CPU: read in {first_s:.0f} s, "
      f"then {(time.process_time() - first_s) / 3:.3f} s a unit")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def narrations(num_videos: int) -> Iterator[tuple[str, object]]:
    per_pass = NUM_NARRATIONS // num_videos // 2
    for number in range(num_videos):
        yield (
            f"{number:08x}-d0c5-4a1e-9b7a-0123456789ab",
            {
                f"narration_pass_{turn}": {
                    "narrations": [
                        {
                            "timestamp_sec": (place * 97 + number % 89) / 30,
                            "timestamp_frame": place * 97 + number % 89,
                            "narration_text": f"#C C picks up the {(place * 7919 + number) % 10007} red cups",
                            "annotation_uid": f"{number:08x}-0a5{turn}-4a1e-9b7a-0123456789ab",
                            "_annotator_notes": "x" * 80,
                        }
                        for place in range(per_pass)
                    ],
                    "summaries": [],
                }
                for turn in (1, 2)
            },
        )


def joined_narrations(num_videos: int) -> Iterator[tuple[str, object]]:
    per_video = NUM_NARRATIONS // num_videos
    for number in range(num_videos):
        yield (
            f"{number:08x}-d0c5-4a1e-9b7a-0123456789ab",
            {
                "summaries": [],
                "narrations": [
                    {
                        "time": (place * 97 + number % 89) / 30,
                        "text": f"#C C picks up the {(place * 7919 + number) % 10007} red cups",
                        "_annotation_uid": f"{number:08x}-0a5{place % 2}-4a1e-9b7a-0123456789ab",
                        "_annotator_notes": "x" * 120,
                    }
                    for place in range(per_video)
                ],
            },
        )


def actions(num_videos: int) -> Iterator[tuple[str, object]]:
    boxes = [
        {"bbox": {"x": 0.1 * i, "y": 12.5, "width": 3.25, "height": 99.0}, "object_type": "hand"} for i in range(40)
    ]
    for number in range(num_videos):
        uid = f"{number:08x}-d0c5-4a1e-9b7a-0123456789ab"
        yield (
            uid,
            {
                "video_uid": uid,
                "annotated_intervals": [
                    {
                        "clip_uid": f"{number:08x}-c11b-4a1e-9b7a-{turn:012x}",
                        "narrated_actions": [
                            {
                                "uid": f"{place:08x}-ac71-4a1e-9b7a-{number:012x}",
                                "start_frame": turn * 9000 + place * 60,
                                "end_frame": turn * 9000 + place * 60 + 240,
                                "narration_text": f"#C C picks up the {(place * 7919 + number) % 10007} red cups",
                                "frames": boxes,
                            }
                            for place in range(60)
                        ],
                    }
                    for turn in range(2)
                ],
            },
        )


def write(root: Path, mode: ego4d.Mode, videos: Iterator[tuple[str, object]]) -> int:
    """Lay out the metadata and a gigabyte of annotations; returns its bytes."""
    (root / ego4d.VIDEO_FOLDERS[0]).mkdir(parents=True)
    (root / ego4d.ANNOTATIONS).mkdir()
    is_fho = mode is ego4d.Mode.FHO_WINDOW
    uids, path = [], root / (ego4d.ACTIONS if is_fho else ego4d.NARRATIONS)[0]
    with path.open("w") as file:
        start, end = ('{"videos": [', "]}") if is_fho else ('{"version": "v2", "videos": {', "}}")
        for sep, (uid, value) in zip(chain([start], iter(lambda: ",", "")), videos, strict=False):
            uids.append(uid)
            file.write(sep + ("" if is_fho else f'"{uid}": ') + json.dumps(value))
        file.write(end)
    (root / ego4d.METADATA[0]).write_text(json.dumps({"videos": [{"video_uid": uid} for uid in uids]}))
    return path.stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "videos"),
    [
        pytest.param(ego4d.Mode.FHO_WINDOW, actions(2300), id="fho"),
        pytest.param(ego4d.Mode.NARRATION, narrations(9645), id="passes"),
        pytest.param(ego4d.Mode.NARRATION, joined_narrations(8922), id="joined"),
    ],
)
def test_a_worker_reads_a_gigabyte_of_annotations_in_bounded_memory(
    tmp_path: Path, mode: ego4d.Mode, videos: Iterator[tuple[str, object]]
) -> None:
    num_bytes = write(tmp_path, mode, videos)
    assert num_bytes > FILE_BYTES
    found = subprocess.run(
        [sys.executable, "-c", UNITS, str(tmp_path), mode], capture_output=True, text=True, check=False, timeout=1800
    )
    # pytest keeps the folders of the last runs
    shutil.rmtree(tmp_path / "v2")
    assert found.returncode == 0, found.stderr
    report, peak = found.stdout.splitlines()
    sys.stdout.write(f"{mode}, {num_bytes / 1e9:.2f} GB: {report}; peak {int(peak) / 1e6:.0f} MB\n")
    assert int(peak) < WORKER_BYTES
