"""The gradients of one step: forward and backward over its micro-batches, clipped and checked to be finite."""

import math

import torch
from torch import Tensor, nn

from vita_data.errors import VitaDataError
from vita_data.types import Batch
from vita_model.distributed import Ranks, whole_tensor
from vita_model.network.prediction import Draws
from vita_model.network.vita import Vita
from vita_model.training.batches import micro_batches
from vita_model.training.parallel import without_sync
from vita_model.training.recipes.recipe import Precision, Recipe
from vita_model.training.stages import draw

_MAX_KEYS = 32


class TrainingError(VitaDataError):
    """A loss or gradient is not finite."""


class Gradients:
    """Computes the gradients of a run's steps; `draws` is the generator for their random choices."""

    def __init__(self, model: Vita, loss: nn.Module, recipe: Recipe, ranks: Ranks, draws: torch.Generator) -> None:
        self.model, self.loss, self.recipe, self.ranks, self.draws = model, loss, recipe, ranks, draws

    def compute(self, batch: Batch, *, step: int) -> dict[str, float]:
        """Set the clipped gradients of a batch; parameters it does not use get none, so that AdamW skips them.

        Returns:
            The loss, its terms, additional figures of the model, and the gradient norm before clipping.

        Raises:
            TrainingError: a loss or gradient is not finite; the message names the step and the batch's keys.
        """
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
                terms, seen = self._terms(part, drawn)
                loss = torch.stack(list(terms.values())).sum() / count
                _check_finite(loss, "loss", batch, step)
                loss.backward()  # type: ignore[no-untyped-call]
            scalars = {
                "loss": float(loss.detach()) * count,
                **{name: float(term.detach()) for name, term in terms.items()},
            }
            for name, value in {**scalars, **seen}.items():
                values[name] = values.get(name, 0.0) + value / count
        norm = self._clip()
        _check_finite(norm, "gradient", batch, step)
        return {**values, "grad_norm": float(norm)}

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


def _check_finite(value: Tensor, what: str, batch: Batch, step: int) -> None:
    found = float(value.detach())
    if math.isfinite(found):
        return
    keys = ", ".join(batch.key[:_MAX_KEYS])
    more = f" and {len(batch.key) - _MAX_KEYS} more" if len(batch.key) > _MAX_KEYS else ""
    raise TrainingError(
        f"step {step}: expected a finite {what}, got {found} in a batch of {batch.modality} clips {keys}{more}. "
        "Inspect them with `vita-data inspect`, or lower optimizer.lr and --resume from the last checkpoint"
    )
