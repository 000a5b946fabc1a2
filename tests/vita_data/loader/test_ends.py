"""However a run goes wrong or stops, its process ends, in time, with one line that names shard and member."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

_LIMIT_S = 60
"""Far beyond what any of these takes on a busy machine; a process that hangs would never end."""

# One process imports what all need, which takes most of the time, and every case is a fork of it: a whole process, that
# ends as the interpreter does.
_FORKS = """
import json, os, signal, sys, time
from pathlib import Path
import vita_data.loader.loader
from vita_data.errors import VitaDataError
from vita_data.loader import LoaderOptions, Plan, make_loader
from vita_data.types import Manifest, MixtureEntry

def train(steps=3, **options):
    try:
        with make_loader(plan, options=LoaderOptions(threads=3, **options)) as loader:
            for _ in range(steps):
                next(loader)
    except VitaDataError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(7)

def end_of(child):
    for _ in range(20 * LIMIT_S):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "it hangs"

def begin(folder):
    child = os.fork()
    if not child:
        told = os.open(Path(folder, "told"), os.O_WRONLY | os.O_CREAT)
        os.dup2(told, 1)
        os.dup2(told, 2)
    return child

LIMIT_S, codes, begun = int(sys.argv[1]), json.loads(sys.argv[2]), []
for folder, code in codes.items():
    child = begin(folder)
    if not child:
        break
    begun.append((folder, child))
if child:
    print(json.dumps({folder: end_of(child) for folder, child in begun}))
else:
    manifest = Manifest(name="t", path="t", entries=(MixtureEntry(source="arm", weight=1),))
    plan = Plan.from_manifest(manifest, shards=folder, stage="finetune", batch_size=32)
    shard = next(Path(folder).glob("arm/train/*.tar"))
    exec(code)
"""

WHERE = r"shard \S*arm-train-000000\.tar, clip arm-0{15}\d, member [\w.]+"

FAILURES = {
    "a read hangs": (
        "shard.unlink(); os.mkfifo(shard)\ntrain(read_timeout_s=1)",
        rf"StorageError: {WHERE}, \d+ bytes at byte \d+: no answer for \d+ s; ",
    ),
    "the shard vanishes": ("shard.unlink()\ntrain()", rf"StorageError: {WHERE}, .*: cannot be read \(.*No such file"),
    "the shard is cut short": (
        "os.truncate(shard, shard.stat().st_size // 3)\ntrain()",
        rf"ShardError: {WHERE}: .* do not match crc32",
    ),
    "too many files are open": (
        "import resource\nfull = len(os.listdir('/proc/self/fd')) - 1\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (full, full))\ntrain()",
        rf"StorageError: {WHERE}, .*: cannot be read \(.*[Tt]oo many open files",
    ),
    "a thread wants to exit": (
        "import simplejpeg\nsimplejpeg.decode_jpeg = lambda *_, **__: sys.exit(0)\ntrain()",
        rf"WorkerError: {WHERE}, .*: cannot be read \(SystemExit\(0\)\)",
    ),
}
STOPS = {
    "held at the end": "loader = make_loader(plan, options=LoaderOptions(ahead=4)); next(loader)",
    "dropped": "loader = make_loader(plan, options=LoaderOptions(ahead=4)); next(loader); del loader",
    "not begun": "loader = make_loader(plan)",
    "its threads end": (
        "import threading\nloader = make_loader(plan, options=LoaderOptions(ahead=4)); next(loader); del loader\n"
        "for _ in range(1000):\n    if threading.active_count() == 1: break\n    time.sleep(0.01)\n"
        "assert threading.active_count() == 1, threading.enumerate()"
    ),
}


@pytest.fixture
def ends_of(tmp_path: Path, make_clip, save) -> Callable[[Mapping[str, str]], dict[str, tuple[int | str, str]]]:
    """How the process of each case ended, and what it told."""

    def run(codes: Mapping[str, str]) -> dict[str, tuple[int | str, str]]:
        save(tmp_path / "whole", [make_clip("arm", n, steps=20, all_frames=True) for n in range(2)])
        folders = {name: tmp_path / str(number) for number, name in enumerate(codes)}
        for folder in folders.values():
            shutil.copytree(tmp_path / "whole", folder)
        given = json.dumps({str(folders[name]): code for name, code in codes.items()})
        done = subprocess.run(
            [sys.executable, "-c", _FORKS, str(_LIMIT_S), given], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        return {name: (found[str(folder)], (folder / "told").read_text()) for name, folder in folders.items()}

    return run


def test_the_process_ends_with_a_line_that_names_shard_and_member(ends_of) -> None:
    for case, (exit_code, told) in ends_of({case: code for case, (code, _) in FAILURES.items()}).items():
        assert re.search(FAILURES[case][1], told), (case, told)
        assert (exit_code, told.count("\n")) == (7, 1), (case, told)


def test_a_loader_in_the_middle_of_reading_ends_without_a_word(ends_of) -> None:
    assert ends_of(STOPS) == dict.fromkeys(STOPS, (0, ""))
