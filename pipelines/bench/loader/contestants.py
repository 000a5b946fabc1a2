"""The loaders that take part, and their data."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import vita_data
from pipelines.bench.build.workload import Workload, prepare
from pipelines.bench.loader.drive import Turn, TurnSpec
from pipelines.bench.loader.sizes import LoaderSizes
from vita_data.errors import VitaDataError

REPOSITORY = Path(vita_data.__file__).parent.parent
HINT = "run `bash pipelines/bench_peers.sh`"
_PEERS = {
    "webdataset": "webdataset",
    "mosaicml-streaming": "streaming",
    "megatron-energon": "energon",
    "litdata": "litdata",
    "HF datasets": "datasets",
}
OURS, LIMIT, READ_LIMIT = "vita", "raw decode of the same JPEGs", "read, crc32, decode"
# One thread each, because loaders differ in their default, and workers would multiply it.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_TIMEOUT_S = 600


class ContestantError(VitaDataError):
    """A contestant failed; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One loader: how to run it, and its data."""

    name: str
    module: str
    """Module in this package and its function, as `module:function`."""
    python: Path
    data: Path
    num_bytes: int
    workers: tuple[int, ...]
    is_peer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A peer that cannot run here, and the reason."""

    name: str
    why: str


def built_in(clips: Workload, sizes: LoaderSizes) -> list[Contestant]:
    """List the lower bounds and our loader."""
    pairs, shards = clips.raw / "pairs", clips.raw / "shards"
    return [
        _built_in(LIMIT, "limit:batches", pairs, workers=sizes.threads[:2]),
        _built_in(READ_LIMIT, "limit:read_batches", pairs, workers=sizes.threads[:1]),
        _built_in(OURS, "ours:batches", shards, workers=sizes.threads),
    ]


def _built_in(name: str, module: str, data: Path, *, workers: tuple[int, ...]) -> Contestant:
    num_bytes = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    return Contestant(
        name=name, module=module, python=Path(sys.executable), data=data, num_bytes=num_bytes, workers=workers
    )


def peers(base: Path, clips: Workload, sizes: LoaderSizes, environment: Path) -> list[Contestant | Absent]:
    """List the peers after exporting their data; one without an environment, or that fails, is absent."""
    return [_peer(name, module, base, clips, sizes, environment) for name, module in _PEERS.items()]


def _peer(
    name: str, module: str, base: Path, clips: Workload, sizes: LoaderSizes, environment: Path
) -> Contestant | Absent:
    python = environment / "bin" / "python"
    if not python.exists():
        return Absent(name=name, why=f"the environment with peers was not found; {HINT}")
    contestant = f"peers.{module}:batches"
    pairs = clips.raw / "pairs"

    def export(raw: Path) -> int:
        _drive(python, ["export", contestant, str(pairs), str(raw)])
        return clips.num_frames

    code = hashlib.sha256((Path(__file__).parent / "peers" / f"{module}.py").read_bytes()).hexdigest()
    try:
        data = prepare(base, f"loader-{module}", (clips.folder.name, code), export)
    except ContestantError as error:
        return Absent(name=name, why=str(error))
    return Contestant(
        name=name, module=contestant, python=python, data=data.raw, num_bytes=data.num_bytes, workers=sizes.workers,
        is_peer=True,
    )  # fmt: skip


def run_turn(contestant: Contestant, *, pairs: Path, spec: TurnSpec) -> Turn:
    """Run one turn of a contestant in a new process, with its data in the page cache.

    Raises:
        ContestantError: the contestant failed.
    """
    _read_once(contestant.data)
    arguments = ["turn", contestant.module, str(pairs), str(contestant.data), json.dumps(asdict(spec))]
    return Turn.from_json(_drive(contestant.python, arguments))


def run_module(python: Path, module: str, arguments: Sequence[str]) -> str:
    """Run a module of this project with another Python and return its stdout.

    Raises:
        ContestantError: it failed; the message is the last line of its stderr.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", **dict.fromkeys(_THREADS, "1")}
    command = [str(python), "-m", module, *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=REPOSITORY
        )
    except subprocess.TimeoutExpired:
        raise ContestantError(f"did not finish within {_TIMEOUT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ContestantError(lines[-1])
    return done.stdout


def _drive(python: Path, arguments: Sequence[str]) -> str:
    return run_module(python, "pipelines.bench.loader.drive", arguments)


def _read_once(folder: Path) -> None:
    """Read a folder's files into the page cache."""
    buffer = bytearray(1 << 20)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
