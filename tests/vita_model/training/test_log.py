"""What a run says besides its rows: pictures in TensorBoard, scalars to wandb where that is installed and wanted."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vita_model.training.log import RunLog
from vita_model.training.speed import StepSpeed


def log_of(run) -> RunLog:
    return RunLog(run, start_step=0, num_steps=2, report_every=1, report=lambda line: None)


def row(log: RunLog, step: int) -> None:
    log.row(
        step=step, stage="warmup", modality="video", values={"loss": 0.5}, shares={"toy": 1.0}, substituted={},
        speed=StepSpeed(step_s=0.1, parts_s={}, num_samples=4),
    )  # fmt: skip


def test_jpegs_become_pictures_by_the_last_word_of_their_names(tmp_path) -> None:
    pixels = np.full((16, 24, 3), 200, np.uint8)
    path = tmp_path / "step-00000002-frames.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(pixels, colorspace="RGB"))
    log = log_of(tmp_path)
    log.pictures(2, [path, tmp_path / "step-00000002-actions.json"])
    log.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    board.Reload()

    assert board.Tags()["images"] == ["previews/frames"]
    (shown,) = board.Images("previews/frames")
    assert (shown.step, shown.width, shown.height) == (2, 24, 16)


def test_wandb_gets_the_scalars_where_a_project_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    run = SimpleNamespace(log=lambda values, step: said.append((step, values)), finish=lambda: said.append("finished"))
    module = SimpleNamespace(init=lambda **options: said.append(options["project"]) or run, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_PROJECT", "vita")
    log = log_of(tmp_path)
    row(log, 1)
    log.close()

    assert said[0] == "vita"
    assert said[1] == (1, {"video/loss": 0.5, "video/samples_per_s": 40.0})
    assert said[2] == "finished"


def test_without_a_project_nothing_is_sent(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(__spec__=SimpleNamespace()))
    log = log_of(tmp_path)
    row(log, 1)
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1
