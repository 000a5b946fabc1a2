"""`vita-bench latency`: inference latency by model part, as in VITA table 9, compared with the device's limits.

The lower bound of a part is the longer of two times: its arithmetic at the measured matrix peak, and reading its
weights at the measured bandwidth. Weights are random, the batch is one observation, and resizing images is not
included.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipelines.bench.model.specs import LatencySpec
from pipelines.bench.model.train import device_name, matrix_peak, wait_for
from vita_data.slots import STATE_DIM
from vita_data.types import IMAGE_SIZE
from vita_model.network.backbone import Backbone, Reasoning
from vita_model.network.vita import Vita
from vita_model.policy.policy import CONTROL, narrow
from vita_model.training.estimate.fake_model import flop_counter
from vita_model.training.parallel import begin_answer, compile_whole
from vita_model.training.recipes.presets import PRESETS, with_random_weights
from vita_model.training.recipes.recipe import Precision

_COPY_BYTES = 1 << 28
_SENTENCE = "pick up the cup"
_PAPER_MS = {12: (45.2, 15.4), 24: (45.7, 18.2), 48: (46.5, 24.8)}
"""VITA table 9 on an RTX 4090: backbone and action decoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFigures:
    """One part of an inference."""

    name: str
    time_s: float
    flop: float
    num_bytes: int
    """Bytes of weights, counted as often as they are read."""
    floor_s: float

    @property
    def ratio(self) -> float:
        """Time relative to its lower bound."""
        return self.time_s / self.floor_s


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """One chunk length, with as many latents, futures and steps."""

    horizon: int
    parts: tuple[PartFigures, ...]
    total: PartFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """All results of one run."""

    preset: str
    device: str
    precision: Precision
    num_views: int
    is_compiled: bool
    peak_flop_per_s: float
    bytes_per_s: float
    rows: tuple[LatencyRow, ...]

    @property
    def growth(self) -> float:
        """Relative increase of the time from the shortest to the longest chunk."""
        return self.rows[-1].total.time_s / self.rows[0].total.time_s - 1


def measure_latency(spec: LatencySpec) -> LatencyReport:
    """Measure inference for each chunk length."""
    device = torch.device(spec.device)
    peak, bandwidth = matrix_peak(device, spec.precision), _bandwidth(device)
    return LatencyReport(
        preset=spec.preset, precision=spec.precision, num_views=spec.num_views, is_compiled=spec.compile,
        device=device_name(device), peak_flop_per_s=peak, bytes_per_s=bandwidth,
        rows=tuple(_Answers(spec, horizon).row(peak, bandwidth) for horizon in spec.horizons),
    )  # fmt: skip


class _Answers:
    """A model for one chunk length, and its inputs."""

    def __init__(self, spec: LatencySpec, horizon: int) -> None:
        self.spec, self.horizon, self.device = spec, horizon, torch.device(spec.device)
        config = with_random_weights(PRESETS[spec.preset]())
        config = replace(config, backbone=replace(config.backbone, num_latents=horizon))
        with self.device:
            self.model = Vita(config, CONTROL).eval().requires_grad_(requires_grad=False)
        backbone = self.model.backbone
        if backbone is None:
            raise TypeError("expected a model with a backbone, got none")
        self.backbone: Backbone = backbone
        parts = (self.backbone, self.model.action_decoder)
        for part in parts if spec.precision is Precision.BF16 else ():
            narrow(part)
        shape = (1, spec.num_views, IMAGE_SIZE, IMAGE_SIZE, 3)
        self.images = torch.randint(256, shape, dtype=torch.uint8, device=self.device)
        self.image_mask = torch.ones(shape[:2], dtype=torch.bool, device=self.device)
        self.state = torch.rand(1, STATE_DIM, device=self.device)
        self.state_mask = torch.ones_like(self.state, dtype=torch.bool)

    @torch.inference_mode()
    def row(self, peak: float, bandwidth: float) -> LatencyRow:
        """Measure both parts and the total."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision is Precision.BF16):
            inputs = self._reason()
            calls: tuple[tuple[str, Callable[[], object], int], ...] = (
                ("backbone", self._reason, _backbone_bytes(self.backbone)),
                ("action decoder", lambda: self._act(*inputs), _bytes(self.model.action_decoder)),
            )
            # Count FLOP first, because compiled modules do not show their operations.
            counted = [_flop(call) for _, call, _ in calls]
            if self.spec.compile:
                compile_whole([self.backbone, self.model.action_decoder], self.device)
            parts = tuple(
                PartFigures(
                    name=name, time_s=self._time(call), flop=flop, num_bytes=num_bytes,
                    floor_s=max(flop / peak, num_bytes / bandwidth),
                )
                for (name, call, num_bytes), flop in zip(calls, counted, strict=True)
            )  # fmt: skip
            total_s = self._time(lambda: self._act(*self._reason()))
        total = PartFigures(
            name="total", time_s=total_s, flop=sum(part.flop for part in parts),
            num_bytes=sum(part.num_bytes for part in parts), floor_s=sum(part.floor_s for part in parts),
        )  # fmt: skip
        return LatencyRow(horizon=self.horizon, parts=parts, total=total)

    def _reason(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give the inputs of the action decoder: latents, context, and the context's mask."""
        reasoning: Reasoning = self.backbone(
            self.images, self.image_mask, self.backbone.tokens([_SENTENCE], self.device), self.state, self.state_mask
        )
        stream, context = self.model.stream(reasoning, self.image_mask.any(dim=1)), reasoning.context
        return stream.actions, context.hidden, context.mask

    def _act(self, latents: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        decoder = self.model.action_decoder
        shown = {"context": hidden, "context_mask": mask} if decoder.context_in is not None else {}
        actions: Tensor = decoder(latents, num_steps=self.horizon, **shown)
        return actions

    def _answer(self, call: Callable[[], object]) -> None:
        if self.spec.compile:
            begin_answer(self.device)
        call()

    def _time(self, call: Callable[[], object]) -> float:
        for _ in range(3):
            self._answer(call)
        times = []
        for _ in range(self.spec.num_runs):
            wait_for(self.device)
            start_s = time.perf_counter()
            self._answer(call)
            wait_for(self.device)
            times.append(time.perf_counter() - start_s)
        return statistics.median(times)


def _flop(call: Callable[[], object]) -> float:
    with flop_counter() as counter:
        call()
    return float(counter.get_total_flops())


def _backbone_bytes(backbone: Backbone) -> int:
    """Count the bytes of weights that are read: Gemma's layers twice, of the embedding table almost nothing."""
    table = _bytes(backbone.gemma.embed_tokens)
    return _bytes(backbone) - table + _bytes(backbone.gemma) - table


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def _bandwidth(device: torch.device) -> float:
    """Measure the bytes per second of a copy, read plus written; the best of ten."""
    source = torch.zeros(_COPY_BYTES, dtype=torch.uint8, device=device)
    target, times = torch.empty_like(source), []
    for _ in range(10):
        wait_for(device)
        start_s = time.perf_counter()
        target.copy_(source)
        wait_for(device)
        times.append(time.perf_counter() - start_s)
    return 2 * _COPY_BYTES / min(times)


def as_markdown(report: LatencyReport) -> str:
    """Format a report like VITA table 9."""
    compiled = ", compiled" if report.is_compiled else ""
    lines = [
        f"{report.preset} on {report.device}, {report.precision}{compiled}, {report.num_views} views, one observation; "
        f"measured matrix peak {report.peak_flop_per_s / 1e12:,.2f} TFLOP/s, "
        f"bandwidth {report.bytes_per_s / 1e9:,.1f} GB/s",
        "",
        "| chunk | part | time | lower bound | time / bound | paper, RTX 4090 |",
        "|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        paper = _PAPER_MS.get(row.horizon)
        printed = ("", "", "") if paper is None else (f"{paper[0]} ms", f"{paper[1]} ms", f"{sum(paper):.1f} ms")
        for part, told in zip((*row.parts, row.total), printed, strict=True):
            lines.append(
                f"| {row.horizon} | {part.name} | {part.time_s * 1e3:,.1f} ms | {part.floor_s * 1e3:,.2f} ms | "
                f"{part.ratio:.2f} | {told} |"
            )
    first, last = report.rows[0].horizon, report.rows[-1].horizon
    return "\n".join([*lines, "", f"From {first} to {last} steps the total grows by {report.growth:.1%}."])
