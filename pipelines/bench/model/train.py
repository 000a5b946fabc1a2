"""`vita-bench train`: the time of a training step, compared with the time that its arithmetic alone would take.

Batches are random and already on the device. The report says how many frames per second the loader must deliver;
`vita-bench loader` measures how many it can.
"""

import resource
import statistics
import sys
import time
from dataclasses import dataclass, replace

import torch

from pipelines.bench.model.specs import StepPart, Trial
from vita_data.errors import RequestError
from vita_data.types import Batch, Modality
from vita_model.distributed import Ranks
from vita_model.network.vita import Vita
from vita_model.training.batches import random_batch
from vita_model.training.estimate.bf16_weights import held_in_bf16
from vita_model.training.estimate.fake_model import count_flop
from vita_model.training.estimate.memory import MemoryEstimate, as_text, batches_that_come, estimate_memory
from vita_model.training.optim import make_optimizer
from vita_model.training.parallel import StageLoss, prepare_blocks
from vita_model.training.recipes.presets import with_random_weights
from vita_model.training.recipes.recipe import Precision, Recipe, building
from vita_model.training.stages import RULES, draw, set_modes

_MATRIX = {"cuda": 8192, "cpu": 1024}
"""Side of the matrices whose product measures the device's peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """Measurements of a step for one modality."""

    modality: Modality
    batch_size: int
    step_s: float
    """Median time of a step: forward, backward and, unless left out, the optimizer."""
    flop: float
    """FLOP of a step's forward and backward pass, counted on tensors without storage."""
    floor_s: float
    """Time for this FLOP at the device's measured peak."""
    peak_memory_bytes: int
    """On a GPU, the allocator's peak; on a CPU, the peak memory of the whole process so far."""
    samples_per_s: float
    frames_per_s: float
    """Decoded 256x256 frames per second that the loader must deliver."""

    @property
    def mfu(self) -> float:
        """Fraction of the measured peak that is used."""
        return self.floor_s / self.step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """All results of one run."""

    recipe: str
    device: str
    precision: Precision
    peak_flop_per_s: float
    """Peak of a product of two square matrices in that precision, measured in this run."""
    weights: Precision
    part: StepPart
    rows: tuple[StepFigures, ...]
    estimate: MemoryEstimate
    """Memory estimate for whole steps with such batches."""


def measure_training(recipe: Recipe, ranks: Ranks, trial: Trial) -> TrainReport:
    """Measure steps for each modality of a recipe's stage, with random weights.

    Raises:
        RequestError: the stage does not have the modality, or the model cannot be built.
    """
    recipe = replace(recipe, batch_size=trial.batch_size)
    come = batches_that_come(recipe)
    modalities = come if trial.modality is None else [trial.modality]
    if not set(modalities) <= set(come):
        raise RequestError(f"--modality {trial.modality}: stage {recipe.stage} only has {', '.join(come)} batches")
    estimate = estimate_memory(recipe, num_ranks=1)
    config, builds = with_random_weights(recipe.model), RULES[recipe.stage].builds
    with building(recipe):
        model = held_in_bf16(config, builds) if trial.weights is Precision.BF16 else Vita(config, builds)
    model = model.to(ranks.device)
    set_modes(model, recipe.stage)
    prepare_blocks(model, recipe)
    peak = matrix_peak(ranks.device, recipe.precision)
    bench = _Bench(recipe, model, ranks, peak=peak, trial=trial)
    return TrainReport(
        recipe=recipe.name,
        device=device_name(ranks.device),
        precision=recipe.precision,
        peak_flop_per_s=peak,
        weights=trial.weights,
        part=trial.part,
        rows=tuple(bench.measure(modality) for modality in modalities),
        estimate=estimate,
    )


class _Bench:
    def __init__(self, recipe: Recipe, model: Vita, ranks: Ranks, *, peak: float, trial: Trial) -> None:
        self.recipe, self.model, self.ranks, self.peak, self.trial = recipe, model, ranks, peak, trial
        self.loss = StageLoss(model, RULES[recipe.stage], recipe.loss)
        self.optimizer = make_optimizer(model, recipe.optimizer)

    def measure(self, modality: Modality) -> StepFigures:
        trial = self.trial
        recipe = self.recipe
        batch = random_batch(
            modality, recipe.stage, trial.batch_size, self.ranks.device, windows=recipe.windows,
            num_action_dims=recipe.model.num_action_dims,
        )  # fmt: skip
        if self.ranks.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        first_s = self._timed(batch)
        if trial.num_steps:
            self._step(batch)
        times = [self._timed(batch) for _ in range(trial.num_steps)] or [first_s]
        step_s, flop = statistics.median(times), float(count_flop(recipe, modality, trial.batch_size))
        frames = sum(part.shape[0] * part.shape[1] for part in (batch.images, batch.future) if part is not None)
        return StepFigures(
            modality=modality,
            batch_size=trial.batch_size,
            step_s=step_s,
            flop=flop,
            floor_s=flop / self.peak,
            peak_memory_bytes=_peak_memory(self.ranks.device),
            samples_per_s=trial.batch_size / step_s,
            frames_per_s=frames / step_s,
        )

    def _timed(self, batch: Batch) -> float:
        start_s = time.perf_counter()
        self._step(batch)
        wait_for(self.ranks.device)
        return time.perf_counter() - start_s

    def _step(self, batch: Batch) -> None:
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed)
        draws = draw(
            self.model, batch, num_supervised_frames=recipe.num_supervised_frames,
            num_taught_transitions=recipe.num_taught_transitions, loss=recipe.loss, generator=generator,
            ranks=self.ranks,
        )  # fmt: skip
        self.optimizer.zero_grad(set_to_none=True)
        uses_bf16 = recipe.precision is Precision.BF16
        cached, device = not recipe.recompute, self.ranks.device.type
        with torch.autocast(device, torch.bfloat16, enabled=uses_bf16, cache_enabled=cached):
            terms, _ = self.loss(batch, draws)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        if self.trial.part is StepPart.ALL:
            self.optimizer.step()


def matrix_peak(device: torch.device, precision: Precision) -> float:
    """Measure the FLOP/s of a product of two square matrices, the best of ten."""
    side = _MATRIX[device.type]
    kind = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    one, two = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    times = []
    for _ in range(10):
        start_s = time.perf_counter()
        torch.mm(one, two)
        wait_for(device)
        times.append(time.perf_counter() - start_s)
    return 2.0 * side**3 / min(times)


def device_name(device: torch.device) -> str:
    """Give the name of a device for reports."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def wait_for(device: torch.device) -> None:
    """Wait until a device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def as_markdown(report: TrainReport) -> str:
    """Format a report as a table."""
    lines = [
        f"{report.recipe} on {report.device}, {report.precision}, weights in {report.weights}, steps: {report.part}; "
        f"measured matrix peak {report.peak_flop_per_s / 1e12:,.2f} TFLOP/s",
        "",
        "| batch | step | lower bound at that peak | MFU | samples/s | frames/s needed from the loader | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        memory = f"{row.peak_memory_bytes / 2**30:,.1f} GiB"
        lines.append(
            f"| {row.modality}, {row.batch_size} | {row.step_s * 1e3:,.1f} ms | {row.floor_s * 1e3:,.1f} ms | "
            f"{row.mfu:.1%} | {row.samples_per_s:,.1f} | {row.frames_per_s:,.1f} | {memory} |"
        )
    return "\n".join([*lines, "", f"estimate for whole steps with weights in fp32: {as_text(report.estimate)}"])
