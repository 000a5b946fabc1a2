"""The gradients of one step: forward and backward over its micro-batches, clipped and checked to be finite."""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from vita_data.errors import VitaDataError
from vita_data.types import Batch
from vita_model.distributed import Ranks, highest, whole_tensor
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training.batches import micro_batches
from vita_model.training.parallel import without_sync
from vita_model.training.recipes.recipe import Precision, Recipe
from vita_model.training.stages import draw
from vita_model.training.step_clock import StepClock, StepPart


class TrainingError(VitaDataError):
    """Too many losses or gradients are not finite."""


class Fault(StrEnum):
    """What was not finite in a step; the loss comes first, because it makes the gradient infinite too."""

    LOSS = "loss"
    GRADIENT = "gradient"


_RANKED = (None, Fault.GRADIENT, Fault.LOSS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The result of one step's forward and backward pass."""

    values: dict[str, float]
    """The loss, its terms, additional figures of the model, and the gradient norm before clipping."""
    fault: Fault | None
    """The same on every rank; the gradients must not be used unless it is None."""

    @property
    def found(self) -> float:
        """The value that was not finite; on this rank it may be finite."""
        return self.values["grad_norm" if self.fault is Fault.GRADIENT else "loss"]


class Gradients:
    """Computes the gradients of a run's steps; `draws` is the generator for their random choices."""

    def __init__(
        self, model: Vita, loss: nn.Module, recipe: Recipe, ranks: Ranks, draws: torch.Generator, clock: StepClock
    ) -> None:
        self.model, self.loss, self.recipe, self.ranks, self.draws = model, loss, recipe, ranks, draws
        self.clock = clock

    def compute(self, batch: Batch) -> Computed:
        """Set the clipped gradients of a batch; parameters it does not use get none, so that AdamW skips them."""
        recipe, count = self.recipe, self.recipe.accumulate
        choices = draw(
            self.model, batch, num_supervised_frames=recipe.num_supervised_frames,
            num_taught_transitions=recipe.num_taught_transitions, loss=recipe.loss, generator=self.draws,
            ranks=self.ranks,
        )  # fmt: skip
        values: dict[str, float] = {}
        self.model.zero_grad(set_to_none=True)
        for number, (part, drawn) in enumerate(micro_batches(batch, choices, count), start=1):
            with without_sync(self.loss, is_last=number == count):
                with self.clock.timed(StepPart.FORWARD):
                    terms, seen = self._terms(part, drawn)
                    loss = torch.stack(list(terms.values())).sum() / count
                with self.clock.timed(StepPart.BACKWARD):
                    loss.backward()  # type: ignore[no-untyped-call]
            scalars = {
                "loss": float(loss.detach()) * count,
                **{name: float(term.detach()) for name, term in terms.items()},
            }
            for name, value in {**scalars, **seen}.items():
                values[name] = values.get(name, 0.0) + value / count
        with self.clock.timed(StepPart.OPTIMIZER):
            clipped = self._clip()
        norm = float(clipped)
        return Computed(values={**values, "grad_norm": norm}, fault=self._fault(values["loss"], norm))

    def _fault(self, loss: float, norm: float) -> Fault | None:
        """Find what is not finite on any rank, so that all ranks skip the same steps."""
        mine = Fault.LOSS if not math.isfinite(loss) else None if math.isfinite(norm) else Fault.GRADIENT
        return _RANKED[highest(_RANKED.index(mine), self.ranks.device)]

    def _terms(self, batch: Batch, drawn: Draws) -> tuple[dict[str, Tensor], dict[str, float]]:
        uses_bf16 = self.recipe.precision is Precision.BF16
        # With recomputation, cached weight copies would only waste memory.
        cached, device = not self.recipe.recompute, self.ranks.device.type
        with torch.autocast(device, torch.bfloat16, enabled=uses_bf16, cache_enabled=cached):
            terms: tuple[dict[str, Tensor], dict[str, float]] = self.loss(batch, drawn)
        return terms

    def _clip(self) -> Tensor:
        trained = [p for p in self.model.parameters() if p.grad is not None]
        return whole_tensor(torch.nn.utils.clip_grad_norm_(trained, self.recipe.optimizer.max_grad_norm))
