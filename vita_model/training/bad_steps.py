"""Steps whose loss or gradient is not finite: skipped and recorded, up to a limit.

The data goes on with the next batch, so that a resumed run repeats exactly what an unbroken one does.
"""

import json
from pathlib import Path

from torch import Tensor, nn

from vita_data.types import Batch
from vita_model.distributed import all_names
from vita_model.training.gradients import Computed, TrainingError
from vita_model.training.log import Report, keep_rows

BAD_STEPS = "bad_steps.jsonl"
_MAX_KEYS = 32


class BadSteps:
    """Counts the bad steps of a run; `writes` says whether this rank records them in RUN/bad_steps.jsonl."""

    def __init__(self, run: Path, *, limit: int, report: Report, writes: bool) -> None:
        self.path, self.limit, self.report, self.writes = run / BAD_STEPS, limit, report, writes
        self.count = 0

    def resume(self, step: int, count: int) -> None:
        """Continue with the count of a checkpoint; rows of later steps, left by a run that crashed, are removed."""
        self.count = count
        if self.writes:
            keep_rows(self.path, step)

    def add(self, step: int, batch: Batch, computed: Computed) -> None:
        """Count and record a bad step; every rank must call this, because each has a part of the batch.

        Raises:
            TrainingError: there are more bad steps than the limit; the message names the batch's clips.
        """
        self.count += 1
        keys = all_names(batch.key)
        clips = f"{batch.modality} clips {_listed(keys)}"
        told = f"expected a finite {computed.fault}, got {computed.found} in a batch of {clips}"
        if self.writes:
            self._record(step, batch, computed, keys)
        if self.count > self.limit:
            raise TrainingError(
                f"step {step}: {told}. {self._before()}Inspect these clips with `vita-data inspect`; then lower the "
                f"learning rate with --resume --change optimizer.lr=RATE, or skip such steps with --resume --change "
                f"max_bad_steps={2 * self.count}"
            )
        self.report(f"step {step} skipped ({self.count} of at most {self.limit} bad steps): {told}")

    def _before(self) -> str:
        return f"{self.limit} bad steps were skipped before it. " if self.limit else ""

    def _record(self, step: int, batch: Batch, computed: Computed, keys: list[str]) -> None:
        row = {
            "step": step,
            "fault": str(computed.fault),
            "found": str(computed.found),
            "modality": batch.modality.value,
            "keys": keys,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _MAX_KEYS} more" if len(keys) > _MAX_KEYS else ""
    return ", ".join(keys[:_MAX_KEYS]) + more


class CodebookBefore:
    """A codebook's state before a step: it learns in the forward pass, before it is known that a step is bad.

    The codebook replaces its tensors instead of changing them, so references are enough.
    """

    def __init__(self, codebook: nn.Module) -> None:
        self._buffers = [(module, dict(module.named_buffers(recurse=False))) for module in codebook.modules()]
        self._data: list[tuple[nn.Parameter, Tensor]] = [(one, one.data) for one in codebook.parameters()]

    def restore(self) -> None:
        """Undo what the codebook has learned since."""
        for module, buffers in self._buffers:
            for name, value in buffers.items():
                setattr(module, name, value)
        for parameter, data in self._data:
            parameter.data = data
