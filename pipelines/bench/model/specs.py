"""Settings of the benchmarks of training, latency and serving. Does not import torch."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vita_data.config.checks import require_whole
from vita_data.errors import RequestError
from vita_data.types import Modality
from vita_model.devices import require_device
from vita_model.serving.options import ServeOptions
from vita_model.training.recipes.presets import PRESETS
from vita_model.training.recipes.recipe import Precision


class StepPart(StrEnum):
    """Part of a training step to run."""

    ALL = "all"
    FORWARD_BACKWARD = "forward-backward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Settings of `measure_training` besides the recipe."""

    batch_size: int = 2
    num_steps: int = 5
    """Number of timed steps, after two untimed ones; 0: only the first step is run and timed."""
    part: StepPart = StepPart.ALL
    weights: Precision = Precision.FP32
    """Number format in which matrices are stored; products always use the recipe's precision."""
    modality: Modality | None = None
    """None: all modalities of the stage."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "batch_size")
        require_whole(self, "num_steps", least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySpec:
    """Settings of a measurement."""

    preset: str = "quarter"
    device: str = "cpu"
    precision: Precision = Precision.FP32
    num_views: int = 2
    horizons: tuple[int, ...] = (12, 24, 48)
    num_runs: int = 10
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        if self.preset not in PRESETS:
            raise RequestError(f"--preset {self.preset}: expected one of {', '.join(PRESETS)}")
        if not self.horizons or min(self.horizons) < 1 or not 1 <= self.num_views <= 3 or self.num_runs < 1:
            raise RequestError(f"expected 1 to 3 views, and horizons and runs of at least 1, got {self}")
        require_device(self, "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """Settings of a measurement."""

    preset: str = "tiny"
    policy: Path | None = None
    """A run, a checkpoint or an exported policy; None: random weights of the preset."""
    clients: tuple[int, ...] = (1, 4, 16)
    num_requests: int = 400
    """Number of timed requests, for each number of clients and in process."""
    batches: tuple[int, ...] = (1, 8)
    """Requests that a server may answer with one call of the policy; one server for each."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        most = ServeOptions().max_waiting
        if self.preset not in PRESETS:
            raise RequestError(f"--preset {self.preset}: expected one of {', '.join(PRESETS)}")
        if not self.clients or not all(1 <= number <= most for number in self.clients):
            raise RequestError(f"--clients {' '.join(map(str, self.clients))}: expected numbers from 1 to {most}")
        if not self.batches or min(self.batches) < 1:
            raise RequestError(f"--max-batch {' '.join(map(str, self.batches))}: expected numbers of at least 1")
        if self.num_requests < max(self.clients):
            raise RequestError(
                f"--requests {self.num_requests}: expected at least one per client ({max(self.clients)})"
            )
        if self.device.startswith("cuda"):
            import torch

            if not torch.cuda.is_available():
                raise RequestError(f"--device {self.device}: this machine has no CUDA device")
