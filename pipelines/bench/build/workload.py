"""Folders of generated data: created once, atomically, and reused for the same sizes."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

_ABOUT = "workload.json"
_VERSION = 1
"""Increase it whenever the generated data changes."""


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
        """Size in units of 10^6 bytes."""
        return self.num_bytes / 1e6


def prepare(base: Path, name: str, spec: object, write: Callable[[Path], int]) -> Workload:
    """Find a workload under `base`, or generate it.

    Args:
        base: folder of all workloads.
        name: name of the workload.
        spec: all settings that affect the data.
        write: fills an empty raw tree and returns the number of frames.
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
    """Describe a workload as JSON values, without its path."""
    return {key: value for key, value in asdict(workload).items() if key != "folder"}
