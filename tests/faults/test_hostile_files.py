"""Hostile and damaged files of every format, made from the toys by rules: each costs only itself."""

import contextlib
import io
import random
import shutil
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.faults.hostile import Rule, rules_for
from tests.faults.hostile_tables import TABLES
from tests.raw_trees import files_of, same_files
from tests.vita_data.declared.test_array_record import EXAMPLE, NAME, written
from tests.vita_data.declared.test_commands import file_of
from tests.vita_data.sources.test_from_file import MY_ARM
from vita_data import sources
from vita_data.builder import LocalEngine, WorkerLimits
from vita_data.builder.worker import Worker
from vita_data.builder.worker_limits import processor_s
from vita_data.cli.main import main
from vita_data.formats.rlds.files import FileFormat
from vita_data.shards.verify import verify

LIMITS = WorkerLimits(deadline_s=10.0)
MAX_S = 60.0
"""Of processor time, so that a busy machine fails nothing."""
MAX_BYTES = 1_500_000_000
LEROBOT, ARRAY_RECORD = "lerobot", "array_record"
"""Trees of declared sources; those of the others are named like their source."""


class WarmEngine(LocalEngine):
    """Keeps its worker from build to build; knows the processor time of its workers, and the most memory they took."""

    peak_bytes = 0
    ended_s = 0.0
    """Processor time of workers that were stopped."""

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Look at each worker before it is stopped."""
        stop = Worker.stop

        def watched(worker: Worker) -> None:
            pid = worker._process.pid or 0
            self.ended_s += processor_s(pid)
            self.peak_bytes = max(self.peak_bytes, _peak_bytes(pid))
            stop(worker)

        monkeypatch.setattr(Worker, "stop", watched)

    def close(self) -> None:
        for pid in self.pids():
            self.peak_bytes = max(self.peak_bytes, _peak_bytes(pid))

    def end(self) -> None:
        super().close()

    def used_s(self) -> float:
        return self.ended_s + sum(map(processor_s, self.pids()))

    def pids(self) -> list[int]:
        workers = [] if self._pool is None else [*self._pool._idle, *self._pool._busy]
        return [worker._process.pid or 0 for worker in workers]


def _peak_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


@dataclass
class Tree:
    """A small good tree, and what a build makes of it."""

    name: str
    raw: Path
    source: tuple[str, str]
    clips: dict[str, bytes] = field(default_factory=dict)
    part_of: dict[str, str] = field(default_factory=dict)
    """The part of each clip."""


def made_tree(name: str, toy_raw: Path, place: Path) -> Tree:
    """Take the toy of a source, of files that are parts by themselves only two."""
    raw = place / "raw"
    if name == LEROBOT:
        file = place / "my_arm.py"
        file.write_text(MY_ARM)
        assert main(["toy", "--source-file", str(file), "--raw", str(raw)]) == 0
        return Tree(name="my_arm", raw=raw / "my_arm", source=("--source-file", str(file)))
    if name == ARRAY_RECORD:
        pytest.importorskip("array_record")
        file = file_of(place / "declared", EXAMPLE)
        return Tree(name=NAME, raw=written(file, raw, FileFormat.ARRAY_RECORD), source=("--source-file", str(file)))
    same_files(toy_raw / name, raw)
    for path in [path for path in files_of(raw) if path.suffix == ".hdf5"][2:]:
        (raw / path).unlink()
    return Tree(name=name, raw=raw, source=("--source", name))


def one_of_each_kind(raw: Path) -> list[Path]:
    """One file of each name without its digits, and of each folder level."""
    kinds = {
        ("".join(sign for sign in path.name if not sign.isdigit()), len(path.parts)): path for path in files_of(raw)
    }
    return sorted(kinds.values())


def build(tree: Tree, raw: Path, out: Path) -> tuple[int, str]:
    """Build by the command; the exit code and what it says."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = main(["build", *tree.source, "--raw", str(raw), "--out", str(out), "--quiet"])
    return code, told.getvalue()


def clips_of(folder: Path) -> dict[str, bytes]:
    """The bytes of all members of each clip, with their names."""
    found: dict[str, bytes] = {}
    for shard in sorted(folder.glob("*/*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                data = tar.extractfile(member)
                assert data is not None
                found[key] = found.get(key, b"") + name.encode() + data.read()
    return found


def parts_of(folder: Path) -> dict[str, str]:
    rows = pq.read_table(folder / "episodes.parquet").to_pylist()
    return {row["clip"]: row["part"] for row in rows if row["clip"]}


@dataclass
class Result:
    """What became of one file."""

    kind: str
    """harmless, dropped or failed (some episodes), refused (the tree)."""
    seconds: float
    faults: list[str]


def try_rule(tree: Tree, file: Path, rule: Rule, place: Path, engine: WarmEngine, seed: int) -> Result:
    raw, out = place / "raw", place / "out"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    same_files(tree.raw, raw)
    rule(raw / file, random.Random(seed))
    start_s = time.process_time() + engine.used_s()
    code, err = build(tree, raw, out)
    seconds = time.process_time() + engine.used_s() - start_s
    faults = []
    if "Traceback" in err:
        faults.append(f"a traceback: {err[-2000:]}")
    if code not in (0, 1, 2) or (code != 0) != bool(err.strip()):
        faults.append(f"exit {code}, and said {err[-500:]!r}")
    if not all(line.isprintable() for line in err.splitlines()):
        faults.append(f"control characters in {err!r}")
    if seconds > MAX_S:
        faults.append(f"{seconds:.0f} s of processor time")
    folder = out / tree.name
    if not (folder / "dataset.json").exists():
        return Result("refused", seconds, faults if code else [*faults, "no card, and exit 0"])
    clips = clips_of(folder)
    faults += [
        f"clip {key} of another part is lost or changed"
        for key in _untouched(tree, file)
        if clips.get(key) != tree.clips[key]
    ]
    faults += verify(folder).problems
    outcomes = {row["outcome"] for row in pq.read_table(folder / "episodes.parquet").to_pylist()}
    if ("failed" in outcomes) != bool(code) and clips:
        faults.append(f"exit {code} with outcomes {outcomes}")
    kind = "failed" if code else "harmless" if clips.keys() == tree.clips.keys() else "dropped"
    return Result(kind, seconds, faults)


def _untouched(tree: Tree, file: Path) -> Iterator[str]:
    """The clips of other parts, if the file is a part itself: a description may change them all."""
    if str(file) in tree.part_of.values():
        yield from (key for key, part in tree.part_of.items() if part != str(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sources.names(), LEROBOT, ARRAY_RECORD])
def test_a_hostile_file_costs_itself(
    name: str, toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    engine = WarmEngine(limits=LIMITS)
    engine.watch(monkeypatch)
    monkeypatch.setattr("vita_data.cli.build._engine", lambda arguments: engine)
    tree = made_tree(name, toy_raw, tmp_path)
    assert build(tree, tree.raw, tmp_path / "good") == (0, "")
    tree.clips, tree.part_of = clips_of(tmp_path / "good" / tree.name), parts_of(tmp_path / "good" / tree.name)
    assert tree.clips
    kinds, slowest_s, wrong, seed = Counter[str](), 0.0, [], 0
    for file in one_of_each_kind(tree.raw):
        for title, rule in {**rules_for(file), **TABLES.get(file.suffix, {})}.items():
            seed += 1
            result = try_rule(tree, file, rule, tmp_path / "case", engine, seed)
            kinds[result.kind] += 1
            slowest_s = max(slowest_s, result.seconds)
            wrong += [f"{file}, {title} (seed {seed}): {fault}" for fault in result.faults]
    engine.end()
    counts = " | ".join(str(kinds[kind]) for kind in ("harmless", "dropped", "failed", "refused"))
    figure(f"| {name} | {seed} | {counts} | {len(wrong)} | {slowest_s:.1f} s | {engine.peak_bytes / 1e6:.0f} MB |")
    assert not wrong, "\n".join(wrong)
    assert engine.peak_bytes < MAX_BYTES
