"""`vita-bench train`: the time of a training step beside the time that its arithmetic alone would take.

Batches are random and lie on the device already: what a loader must deliver is said beside the figures, what a loader
delivers `vita-bench loader` measures.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from vita_data.errors import RequestError, VitaDataError
from vita_data.types import IMAGE_SIZE, STATE_DIM, Batch, Modality, Stage
from vita_model.checks import is_whole
from vita_model.distributed import Ranks, joined_ranks
from vita_model.optim import make_optimizer
from vita_model.override import override
from vita_model.parallel import StageLoss, prepare_blocks
from vita_model.presets import with_random_weights
from vita_model.recipe import Precision, Recipe, load_recipe, resolved
from vita_model.stages import RULES, draw, set_modes
from vita_model.vita import Vita

_FUTURES = {Stage.WARMUP: 1, Stage.COTRAIN: 12, Stage.FINETUNE: 0}
_HORIZON, _ACTION_DIM = 12, 14
_MATRIX = {"cuda": 8192, "cpu": 1024}
"""Side of the matrices whose product is taken for the device's peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """One kind of batch: what a step takes, and what it needs at least."""

    modality: Modality
    batch_size: int
    step_s: float
    """Median of the steps: forward, backward, optimizer."""
    flop: float
    """Of a step's forward and backward, counted."""
    floor_s: float
    """The same at the measured peak of the device."""
    peak_memory_bytes: int | None
    """On a GPU, as its allocator counts; None on a CPU."""
    samples_per_s: float
    frames_per_s: float
    """Decoded 256x256 frames that the loader must deliver."""

    @property
    def mfu(self) -> float:
        """Which part of the measured peak is used."""
        return self.floor_s / self.step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """All that one run measured."""

    recipe: str
    device: str
    precision: Precision
    peak_flop_per_s: float
    """Of a product of two square matrices in that precision, measured in this run."""
    rows: tuple[StepFigures, ...]


def measure_training(recipe: Recipe, ranks: Ranks, *, batch_size: int, num_steps: int) -> TrainReport:
    """Time steps of every kind of batch of a recipe's stage, with random weights.

    Raises:
        RequestError: the batch or the number of steps is none.
    """
    if not is_whole(batch_size, least=1) or not is_whole(num_steps, least=1):
        raise RequestError(f"bench train: need a batch and steps of at least 1; found {batch_size} and {num_steps}")
    model = Vita(with_random_weights(recipe.model), RULES[recipe.stage].builds).to(ranks.device)
    set_modes(model, recipe.stage)
    prepare_blocks(model, recipe)
    peak = matrix_peak(ranks.device, recipe.precision)
    bench = _Bench(recipe, model, ranks, peak=peak, batch_size=batch_size, num_steps=num_steps)
    return TrainReport(
        recipe=recipe.name,
        device=device_name(ranks.device),
        precision=recipe.precision,
        peak_flop_per_s=peak,
        rows=tuple(bench.measure(modality) for modality in RULES[recipe.stage].modalities),
    )


class _Bench:
    def __init__(
        self, recipe: Recipe, model: Vita, ranks: Ranks, *, peak: float, batch_size: int, num_steps: int
    ) -> None:
        self.recipe, self.model, self.ranks = recipe, model, ranks
        self.peak, self.batch_size, self.num_steps = peak, batch_size, num_steps
        self.loss = StageLoss(model, RULES[recipe.stage], recipe.loss)
        self.optimizer = make_optimizer(model, recipe.optimizer)

    def measure(self, modality: Modality) -> StepFigures:
        batch = random_batch(modality, self.recipe.stage, self.batch_size, self.ranks.device)
        if self.ranks.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with FlopCounterMode(display=False) as counter:
            self._step(batch)
        self._step(batch)
        times = [self._timed(batch) for _ in range(self.num_steps)]
        step_s, flop = statistics.median(times), float(counter.get_total_flops())
        frames = sum(part.shape[0] * part.shape[1] for part in (batch.images, batch.future) if part is not None)
        return StepFigures(
            modality=modality,
            batch_size=self.batch_size,
            step_s=step_s,
            flop=flop,
            floor_s=flop / self.peak,
            peak_memory_bytes=torch.cuda.max_memory_allocated() if self.ranks.device.type == "cuda" else None,
            samples_per_s=self.batch_size / step_s,
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
        frames = recipe.num_supervised_frames
        draws = draw(self.model, batch, num_supervised_frames=frames, generator=generator, ranks=self.ranks)
        self.optimizer.zero_grad(set_to_none=True)
        uses_bf16 = recipe.precision is Precision.BF16
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=uses_bf16):
            terms, _ = self.loss(batch, draws)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def random_batch(modality: Modality, stage: Stage, size: int, device: torch.device) -> Batch:
    """Make a batch of noise with all that its modality has, nothing masked."""
    images = future = image_mask = future_mask = action = action_mask = state = state_mask = None
    if modality is not Modality.ACTION:
        shape = (size, 1, IMAGE_SIZE, IMAGE_SIZE, 3)
        images = torch.randint(256, shape, dtype=torch.uint8, device=device)
        future = images.expand(size, _FUTURES[stage], *shape[2:]).clone()
        image_mask = torch.ones(size, 1, dtype=torch.bool, device=device)
        future_mask = torch.ones(size, _FUTURES[stage], dtype=torch.bool, device=device)
    if modality is not Modality.VIDEO:
        action = torch.rand(size, _HORIZON, _ACTION_DIM, device=device) * 2 - 1
        action_mask = torch.ones_like(action, dtype=torch.bool)
        state = torch.rand(size, STATE_DIM, device=device) * 2 - 1
        state_mask = torch.ones_like(state, dtype=torch.bool)
    return Batch(
        modality=modality, source=["noise"] * size, key=[f"noise-{slot}" for slot in range(size)],
        instruction=["pick up the cup"] * size, images=images, image_mask=image_mask, future=future,
        future_mask=future_mask, action=action, action_mask=action_mask, state=state, state_mask=state_mask,
    )  # fmt: skip


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
    """Name a device as a report does."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def as_markdown(report: TrainReport) -> str:
    """Lay a report out as a table."""
    lines = [
        f"{report.recipe} on {report.device}, {report.precision}; measured matrix peak "
        f"{report.peak_flop_per_s / 1e12:,.2f} TFLOP/s",
        "",
        "| batch | step | floor at that peak | part of the peak | samples/s | frames/s the loader must give | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        memory = "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**30:,.1f} GiB"
        lines.append(
            f"| {row.modality}, {row.batch_size} | {row.step_s * 1e3:,.1f} ms | {row.floor_s * 1e3:,.1f} ms | "
            f"{row.mfu:.1%} | {row.samples_per_s:,.1f} | {row.frames_per_s:,.1f} | {memory} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vita-bench train`; returns its exit code."""
    parser = argparse.ArgumentParser(prog="vita-bench train", description="Time training steps beside their floor.")
    parser.add_argument("recipe", type=Path, metavar="RECIPE.py", help="file with a function recipe() -> Recipe")
    parser.add_argument("--batch-size", type=int, default=2, metavar="N", help="samples a batch (default 2)")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="steps that are timed (default 5)")
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="KEY=VALUE", help="as vita-train"
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout, nothing else")
    arguments = parser.parse_args(argv)
    try:
        recipe = resolved(override(load_recipe(arguments.recipe), arguments.settings))
        with joined_ranks() as ranks:
            report = measure_training(recipe, ranks, batch_size=arguments.batch_size, num_steps=arguments.steps)
    except VitaDataError as fault:
        print(f"vita-bench train: {fault}", file=sys.stderr)
        return fault.exit_code
    rows = [{**asdict(row), "mfu": row.mfu} for row in report.rows]
    print(json.dumps({**asdict(report), "rows": rows}, indent=1) if arguments.json else as_markdown(report))
    return 0
