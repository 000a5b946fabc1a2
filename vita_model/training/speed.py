"""How fast training steps are: samples and tokens per second, the share of the device's peak (MFU), and memory."""

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from vita_data.command.progress import format_bytes
from vita_data.types import Batch, Modality
from vita_model.distributed import Ranks
from vita_model.network.vita import Vita
from vita_model.training.estimate.cards import card_of
from vita_model.training.estimate.fake_model import count_flop
from vita_model.training.parallel import gradient_wait_s
from vita_model.training.recipes.recipe import Precision, Recipe
from vita_model.training.step_clock import StepClock, StepPart, with_communication

_SHARES = (StepPart.DATA, StepPart.COMMUNICATION)
"""Parts of a step's time that a log's line shows: what a step waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpeed:
    """The time of one step or of several, and what all ranks did in it."""

    step_s: float
    parts_s: Mapping[str, float]
    """Seconds of parts of the step, as `StepClock.read` names them; without communication if it is not measured."""
    num_samples: int
    num_tokens: int | None = None
    """Positions of the language model's sequences; None if the stage has no language model."""
    at_peak_s: float | None = None
    """Seconds that this rank's arithmetic would take at its device's peak; None if that is not known."""
    memory_bytes: int = 0

    def figures(self) -> dict[str, float]:
        """Give the figures to log; those that are not known are absent."""
        per_second = 1 / max(self.step_s, 1e-9)
        known = {
            "samples_per_s": self.num_samples * per_second,
            "tokens_per_s": None if self.num_tokens is None else self.num_tokens * per_second,
            "mfu": None if self.at_peak_s is None else self.at_peak_s * per_second,
        }
        rates = {name: round(value, 6) for name, value in known.items() if value is not None}
        return {"step_s": round(self.step_s, 6), **self.parts_s, **rates, "memory_bytes": self.memory_bytes}

    def text(self) -> str:
        """Format the speed for a line of a log."""
        found = self.figures()
        words = [f"{_amount(found['samples_per_s'])} samples/s"]
        if "tokens_per_s" in found:
            words.append(f"{_amount(found['tokens_per_s'])} tokens/s")
        if "mfu" in found:
            words.append(f"MFU {found['mfu']:.0%}")
        waits = {part: found[f"{part}_s"] for part in _SHARES if f"{part}_s" in found}
        words += [f"{part} {seconds / max(self.step_s, 1e-9):.0%}" for part, seconds in waits.items()]
        if self.memory_bytes:
            words.append(format_bytes(self.memory_bytes))
        return "  ".join(words)


def total(speeds: Sequence[StepSpeed]) -> StepSpeed:
    """Add up at least one step; a figure is known if it is known for all of them."""
    tokens, at_peak = ([getattr(one, name) for one in speeds] for name in ("num_tokens", "at_peak_s"))
    names = [name for name in speeds[0].parts_s if all(name in one.parts_s for one in speeds)]
    return StepSpeed(
        step_s=sum(one.step_s for one in speeds),
        parts_s={name: sum(one.parts_s[name] for one in speeds) for name in names},
        num_samples=sum(one.num_samples for one in speeds),
        num_tokens=None if None in tokens else sum(tokens),
        at_peak_s=None if None in at_peak else sum(at_peak),
        memory_bytes=max(one.memory_bytes for one in speeds),
    )


class SpeedMeter:
    """Measures the steps of a run on this rank; `loss` is the model as it is spread over the ranks."""

    def __init__(self, model: Vita, loss: nn.Module, recipe: Recipe, ranks: Ranks, clock: StepClock) -> None:
        self._model, self._loss, self._recipe, self._ranks, self._clock = model, loss, recipe, ranks, clock
        self._peak = peak_flop_per_s(ranks.device, recipe.precision)
        self._flop: dict[tuple[Modality, int], int] = {}

    def read(self, batch: Batch) -> StepSpeed:
        """Give the speed of the step since `clock.begin`, whose batch was this one."""
        parts_s, num_samples = self._clock.read(), len(batch.key) * self._ranks.world_size
        step_s, backbone = self._clock.step_s(), self._model.backbone
        tokens = None
        if backbone is not None and batch.images is not None:
            tokens = num_samples * backbone.num_positions(batch.images.shape[1])
        return StepSpeed(
            step_s=step_s,
            parts_s=with_communication(parts_s, gradient_wait_s(self._loss)),
            num_samples=num_samples,
            num_tokens=tokens,
            at_peak_s=self._at_peak_s(batch),
            memory_bytes=_peak_memory(self._ranks.device),
        )

    def _at_peak_s(self, batch: Batch) -> float | None:
        """Give the least time of a batch; only the first rank logs it, so the others do not count."""
        if self._peak is None or not self._ranks.is_first:
            return None
        kind = batch.modality, len(batch.key)
        if kind not in self._flop:
            # What is computed a second time to save memory is no use to the model.
            self._flop[kind] = count_flop(replace(self._recipe, recompute=False), *kind)
        return self._flop[kind] / self._peak


def peak_flop_per_s(device: torch.device, precision: Precision) -> float | None:
    """Look up a device's peak; known for some GPUs, in bf16."""
    if device.type != "cuda" or precision is not Precision.BF16:
        return None
    card = card_of(torch.cuda.get_device_name(device))
    return None if card is None else card.bf16_flop_per_s


def _peak_memory(device: torch.device) -> int:
    """Give the most bytes that a GPU's allocator has held so far; on a CPU, those of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
