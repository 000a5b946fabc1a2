"""`vita-bench store`: two clients of a distant store, and many ranks that read from it and from a disk."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import IO

from pipelines.bench.build.report import this_machine
from pipelines.bench.build.workload import prepare
from pipelines.bench.loader.clips import write_clips
from pipelines.bench.loader.contestants import REPOSITORY
from pipelines.bench.store.ranges import CLIENTS, RangeFigures
from pipelines.bench.store.rank import READY, RankFigures, RankSpec
from pipelines.bench.store.report import Pace, StoreReport
from pipelines.bench.store.sizes import StoreSizes

_BUCKET = "raw"
"""The folder of a workload that holds its shards, which the server calls a bucket."""
_PACES = (0.5, 1.5)
"""Times of a step that are played after the shortest one, as multiples of it."""


def measure_store(sizes: StoreSizes, *, base: Path, tell: Callable[[str], None]) -> StoreReport:
    """Run all measurements.

    Args:
        sizes: sizes of the benchmark.
        base: folder of generated data.
        tell: called with progress messages.

    Raises:
        RuntimeError: a process failed; has the last line of what it said.
    """
    tell("generating clips")
    clips = prepare(base, "loader-clips", sizes.clips, partial(write_clips, spec=sizes.clips))
    with _served(clips.folder, sizes.latency_s) as environment:
        tell("comparing clients")
        key = next(path for path in sorted(clips.raw.rglob("*.tar")))
        address = f"s3://{_BUCKET}/{key.relative_to(clips.raw)}"
        ranges = tuple(_compared(address, sizes, environment))
        paces: list[Pace] = []
        for where, shards in (("disk", str(clips.raw / "shards")), ("store", f"s3://{_BUCKET}/shards")):
            tell(f"{sizes.num_ranks} ranks read from the {where}")
            paces += _paces(where, shards, sizes, environment)
    return StoreReport(machine=this_machine(), sizes=sizes, ranges=ranges, paces=tuple(paces))


@contextmanager
def _served(folder: Path, latency_s: float) -> Iterator[Mapping[str, str]]:
    """Serve a folder's folders as buckets; gives the environment of clients."""
    command = [sys.executable, "-m", "pipelines.bench.store.server", str(folder), str(latency_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as server:
        port = _line(server.stdout).strip()
        yield {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        server.communicate()


def _compared(address: str, sizes: StoreSizes, environment: Mapping[str, str]) -> Iterator[RangeFigures]:
    """Measure each client with each number of connections, in turns; gives medians."""
    for connections in sizes.connections:
        found: dict[str, list[RangeFigures]] = {client: [] for client in CLIENTS}
        for _ in range(sizes.num_rounds):
            for client, turns in found.items():
                numbers = [str(connections), str(sizes.num_ranges), str(sizes.range_bytes)]
                turns.append(RangeFigures(**json.loads(_run("ranges", [address, client, *numbers], environment))))
        for turns in found.values():
            rates, cpu = ([getattr(turn, name) for turn in turns] for name in ("ranges_per_s", "cpu_us"))
            yield replace(turns[0], ranges_per_s=statistics.median(rates), cpu_us=statistics.median(cpu))


def _paces(where: str, shards: str, sizes: StoreSizes, environment: Mapping[str, str]) -> Iterator[Pace]:
    """Play steps that take no time, which shows how long data takes, and then shorter and longer ones than that."""
    first = _played(where, shards, sizes, environment, step_s=0.0)
    yield first
    for multiple in _PACES:
        yield _played(where, shards, sizes, environment, step_s=multiple * first.data_s)


def _played(where: str, shards: str, sizes: StoreSizes, environment: Mapping[str, str], *, step_s: float) -> Pace:
    spec = RankSpec(
        rank=0, num_ranks=sizes.num_ranks, batch_size=sizes.batch_size, num_steps=sizes.num_steps, step_s=step_s,
        threads=sizes.threads,
    )  # fmt: skip
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(_started("rank", [shards, json.dumps(asdict(replace(spec, rank=rank)))], environment))
            for rank in range(sizes.num_ranks)
        ]
        for rank in ranks:
            if _line(rank.stdout).strip() != READY:
                raise RuntimeError(f"a rank failed: {_line(rank.stderr).strip()}")
        answers = [json.loads(answer) for answer in _all_answer(ranks)]
    figures = [RankFigures(**{one.name: answer[one.name] for one in fields(RankFigures)}) for answer in answers]
    slowest = max(one.wall_s for one in figures)
    return Pace(
        where=where,
        step_s=step_s,
        data_s=slowest / sizes.num_steps - step_s,
        waiting=sum(one.waited_s for one in figures) / sum(one.wall_s for one in figures),
        samples_per_s=sizes.batch_size * sizes.num_steps / slowest,
    )


def _all_answer(ranks: Sequence["subprocess.Popen[str]"]) -> Iterator[str]:
    """Let all ranks begin at once, then collect what they print."""
    for rank in ranks:
        if rank.stdin is None:
            raise RuntimeError("a rank has no stdin")
        rank.stdin.write("begin\n")
        rank.stdin.flush()
    for rank in ranks:
        out, error = rank.communicate()
        if rank.returncode:
            raise RuntimeError(f"a rank failed: {error.strip().splitlines()[-1]}")
        yield out


def _started(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", f"pipelines.bench.store.{module}", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=REPOSITORY)


def _run(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    with _started(module, arguments, environment) as process:
        (answer,) = _all_answer([process])
    return answer


def _line(stream: IO[str] | None) -> str:
    if stream is None:
        raise RuntimeError("a process has no output")
    return stream.readline()
