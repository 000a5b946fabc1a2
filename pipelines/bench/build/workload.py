"""Folders of generated data: made once, whole or not at all, and found again by their sizes."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

_ABOUT = "workload.json"
_VERSION = 1
"""To be raised with every change of what is generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A folder of raw data in the layout of a source, or of bare videos."""

    name: str
    folder: Path
    num_frames: int
    num_bytes: int

    @property
    def raw(self) -> Path:
        """The raw tree."""
        return self.folder / "raw"

    @property
    def num_mb(self) -> float:
        """Its size in units of 10^6 bytes."""
        return self.num_bytes / 1e6


def prepare(base: Path, name: str, spec: object, write: Callable[[Path], int]) -> Workload:
    """Find a workload under `base`, or generate it.

    Args:
        base: where workloads lie.
        name: of the workload.
        spec: a dataclass of all that shapes the bytes.
        write: fills an empty raw tree and returns how many frames it holds.
    """
    key = hashlib.sha256(f"{_VERSION} {name} {spec!r}".encode()).hexdigest()[:12]
    folder = base / f"{name}-{key}"
    if not (folder / _ABOUT).exists():
        unfinished = base / f".{folder.name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        raw = unfinished / "raw"
        raw.mkdir(parents=True)
        num_frames = write(raw)
        num_bytes = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file())
        (unfinished / _ABOUT).write_text(json.dumps({"num_frames": num_frames, "num_bytes": num_bytes}))
        unfinished.rename(folder)
    about = cast(dict[str, int], json.loads((folder / _ABOUT).read_text()))
    return Workload(name=name, folder=folder, **about)


def describe(workload: Workload) -> dict[str, object]:
    """Say what a workload is, without where it lies."""
    return {key: value for key, value in asdict(workload).items() if key != "folder"}
