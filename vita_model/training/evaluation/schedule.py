"""When a run is evaluated, and on which batches: always the same held-out windows, or the next training batches."""

from collections.abc import Iterator
from typing import Final

import torch

from vita_data.loader import PlanChange
from vita_data.types import Batch, Modality
from vita_model.training.batches import BatchStream
from vita_model.training.recipes.recipe import Recipe

_MOST_FOLD: Final = 8
"""An evaluation draws at most this many times `eval_batches` while it waits for a rare modality."""


class Evaluations:
    """The evaluations of one run; the training stream is not advanced before the last step is done."""

    def __init__(self, recipe: Recipe, stream: BatchStream, held_out: BatchStream | None) -> None:
        self.recipe: Final = recipe
        self.is_held_out: Final = held_out is not None
        self._stream = stream if held_out is None else held_out
        self._start = None if held_out is None else dict(held_out.state_dict())
        self.missed: frozenset[Modality] = frozenset()
        """Modalities that none of the last evaluation batches had, because their share of the steps is too small."""

    def is_due(self, step: int) -> bool:
        """Tell whether to evaluate after this step; the last step is not included, since it is always evaluated."""
        every = self.recipe.eval_every
        return every is not None and 0 < step < self.recipe.num_steps and step % every == 0

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield the evaluation batches, then rewind a held-out stream, so that figures stay comparable.

        There are `eval_batches` of them, or more until every modality has had one: a report without its rows would not
        say that they are missing. All ranks draw equally many, since they share the modality of each step.
        """
        number, self.missed = 0, frozenset(self._stream.modalities)
        while number < self.recipe.eval_batches or (self.missed and number < _MOST_FOLD * self.recipe.eval_batches):
            batch = next(self._stream).to(device)
            number, self.missed = number + 1, self.missed - {batch.modality}
            yield batch
        if self._start is not None:
            self._stream.load_state_dict(self._start, plan_change=PlanChange.REFUSE)
