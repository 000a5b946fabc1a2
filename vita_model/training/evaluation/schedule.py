"""When a run is measured and on which batches: the same held-out windows each time, or those that would come next."""

from collections.abc import Iterator
from typing import Final

import torch

from vita_data.loader import PlanChange
from vita_data.types import Batch
from vita_model.training.batches import BatchStream, on_device
from vita_model.training.recipes.recipe import Recipe


class Evaluations:
    """The evaluations of one run; nothing here moves the stream that is trained on before the last step is done."""

    def __init__(self, recipe: Recipe, stream: BatchStream, held_out: BatchStream | None) -> None:
        self.recipe: Final = recipe
        self.is_held_out: Final = held_out is not None
        self._stream = stream if held_out is None else held_out
        self._start = None if held_out is None else dict(held_out.state_dict())

    def is_due(self, step: int) -> bool:
        """Tell whether the run is measured after this step, which is not its last: that one always is."""
        every = self.recipe.eval_every
        return every is not None and 0 < step < self.recipe.num_steps and step % every == 0

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """Give the batches to measure on; a held-out stream is rewound after them, so that figures compare."""
        for _ in range(self.recipe.eval_batches):
            yield on_device(next(self._stream), device)
        if self._start is not None:
            self._stream.load_state_dict(self._start, plan_change=PlanChange.REFUSE)
