"""Logs of a run: metrics.jsonl (one row per step), TensorBoard, and lines for the terminal.

Scalars are also sent to Weights & Biases, if it is installed and WANDB_PROJECT is set.

Logging draws no random numbers and does not change the model.
"""

import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import simplejpeg
from torch.utils.tensorboard import SummaryWriter

from vita_data.command.progress import SILENT, LineTimer, Progress
from vita_model.training.speed import StepSpeed, total

Report = Callable[[str], None]
SPEED = "speed.jsonl"


class RunLog:
    """Writes the rows of one run; rows after `start_step`, left by a run that crashed, are removed first."""

    def __init__(
        self,
        run: Path,
        *,
        start_step: int,
        num_steps: int,
        report_every: int,
        report: Report,
        progress: Progress = SILENT,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = run / "metrics.jsonl"
        self.start_step, self.num_steps = start_step, num_steps
        self.report_every, self.report, self.progress = report_every, report, progress
        keep_rows(self.path, start_step)
        self._file = self.path.open("a")
        keep_rows(run / SPEED, start_step)
        self._speed = (run / SPEED).open("a")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=start_step + 1)
        self._wandb = _wandb_run(run)
        self._now, self._begin_s, self._timer = now, now(), LineTimer(now)
        self._since: list[StepSpeed] = []
        """The steps since the last line for the terminal."""

    def row(
        self,
        *,
        step: int,
        stage: str,
        modality: str,
        values: Mapping[str, float],
        shares: Mapping[str, float],
        substituted: Mapping[str, int],
        speed: StepSpeed,
    ) -> None:
        """Log one step: scalars, actual shares of the sources, replaced windows, speed.

        What differs each time a run is repeated, such as the seconds of its parts, goes to speed.jsonl.
        """
        figures = speed.figures()
        line = {
            "step": step,
            "stage": stage,
            "modality": modality,
            **values,
            "samples_per_s": round(figures["samples_per_s"], 2),
            "shares": dict(shares),
            "substituted": dict(sorted(substituted.items())),
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._log_speed(step, modality, figures)
        logged = {**values, "samples_per_s": figures["samples_per_s"]}
        scalars = {f"{modality}/{name}": value for name, value in logged.items()}
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(scalars, step=step)
        if self.progress.has_bar:
            self.progress.update(note=f"{modality} loss {values['loss']:.4f}{_replaced(substituted)}")
        self._since.append(speed)
        if step % self.report_every == 0 or step == self.num_steps or self._timer.is_due():
            self._timer.restart()
            if not self.progress.replaces_lines:
                self._terminal_line(step, modality, values["loss"], substituted)
            self._since.clear()

    def _log_speed(self, step: int, modality: str, speed: Mapping[str, float]) -> None:
        self._speed.write(json.dumps({"step": step, "modality": modality, **speed}) + "\n")
        self._speed.flush()
        for name, value in speed.items():
            self._board.add_scalar(f"speed/{modality}/{name}", value, step)

    def skip(self) -> None:
        """Advance the bar over a step that has no row."""
        if self.progress.has_bar:
            self.progress.update(note="step skipped")

    def evaluation(self, step: int, figures: Mapping[str, float]) -> None:
        """Log the figures of an evaluation."""
        scalars = {f"evaluation/{name}": value for name, value in figures.items()}
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(scalars, step=step)

    def pictures(self, step: int, paths: Iterable[Path]) -> None:
        """Log the JPEG previews, under the last word of their names."""
        for path in paths:
            if path.suffix == ".jpg":
                name = f"previews/{path.stem.rsplit('-', 1)[-1]}"
                pixels = simplejpeg.decode_jpeg(path.read_bytes(), "RGB")
                self._board.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        if self._wandb is not None:
            self._wandb.finish()
        self._file.close()
        self._speed.close()
        self._board.close()

    def _terminal_line(self, step: int, modality: str, loss: float, substituted: Mapping[str, int]) -> None:
        elapsed_s = self._now() - self._begin_s
        rate = (step - self.start_step) / max(elapsed_s, 1e-9)
        left_s = round((self.num_steps - step) / rate) if rate else 0
        clock = f"{left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d}"
        speed = total(self._since).text()
        line = f"step {step}/{self.num_steps}  {modality}  loss {loss:.4f}  {speed}  {clock} left"
        self.report(line + _replaced(substituted))


def _replaced(substituted: Mapping[str, int]) -> str:
    counts = ", ".join(f"{source} {count}" for source, count in sorted(substituted.items()) if count)
    return f"  damaged windows replaced: {counts}" if counts else ""


def _wandb_run(run: Path) -> Any:
    """Start a Weights & Biases run if it is installed and a project is set; otherwise None."""
    project = os.environ.get("WANDB_PROJECT")
    if not project or importlib.util.find_spec("wandb") is None:
        return None
    return importlib.import_module("wandb").init(project=project, name=run.name, dir=str(run), resume="allow")


def keep_rows(path: Path, last_step: int) -> None:
    """Rewrite a JSON Lines file, if it exists, with the rows up to a step, without a truncated last line."""
    if not path.is_file():
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(rows_up_to(path, last_step)))
    temporary.replace(path)


def rows_up_to(path: Path, last_step: int) -> list[str]:
    """Read the lines of a JSON Lines file up to a step; stop at a truncated line."""
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        except ValueError:
            break
    return kept
