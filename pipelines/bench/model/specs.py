"""What the measurements of training, latency and serving are asked for; imports no torch."""

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
    """What of a step is run."""

    ALL = "all"
    FORWARD_BACKWARD = "forward-backward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What `measure_training` runs besides the recipe."""

    batch_size: int = 2
    num_steps: int = 5
    """Steps that are timed, behind two that are not; 0: the first one alone is run and timed."""
    part: StepPart = StepPart.ALL
    weights: Precision = Precision.FP32
    """In which format matrices are held; products are taken as the recipe says, whatever they are held in."""
    modality: Modality | None = None
    """None: all of the stage."""

    def __post_init__(self) -> None:
        """Refuse numbers that nothing can be measured with; raises RequestError."""
        require_whole(self, "batch_size")
        require_whole(self, "num_steps", least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySpec:
    """What is measured."""

    preset: str = "quarter"
    device: str = "cpu"
    precision: Precision = Precision.FP32
    num_views: int = 2
    horizons: tuple[int, ...] = (12, 24, 48)
    num_runs: int = 10
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be measured; raises RequestError."""
        if self.preset not in PRESETS:
            raise RequestError(f"--preset {self.preset}: expected one of {', '.join(PRESETS)}")
        if not self.horizons or min(self.horizons) < 1 or not 1 <= self.num_views <= 3 or self.num_runs < 1:
            raise RequestError(f"expected 1 to 3 views, and horizons and runs of at least 1, got {self}")
        require_device(self, "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """What is measured."""

    preset: str = "tiny"
    policy: Path | None = None
    """A run, a checkpoint or an exported policy; None: drawn weights of the preset."""
    clients: tuple[int, ...] = (1, 4, 16)
    num_requests: int = 400
    """Answers that are timed, of each number of clients and in process."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be measured; raises RequestError."""
        most = ServeOptions().max_waiting
        if self.preset not in PRESETS:
            raise RequestError(f"--preset {self.preset}: expected one of {', '.join(PRESETS)}")
        if not self.clients or not all(1 <= number <= most for number in self.clients):
            raise RequestError(f"--clients {' '.join(map(str, self.clients))}: expected numbers from 1 to {most}")
        if self.num_requests < max(self.clients):
            raise RequestError(
                f"--requests {self.num_requests}: expected at least one per client ({max(self.clients)})"
            )
        if self.device.startswith("cuda"):
            import torch

            if not torch.cuda.is_available():
                raise RequestError(f"--device {self.device}: this machine has no CUDA device")
