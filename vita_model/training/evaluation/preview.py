"""Previews of a run's predictions: true and predicted frames, action chunks as JSON, code usage.

Files: RUN/previews/step-NNNNNNNN-frames.jpg, step-NNNNNNNN-actions.json and step-NNNNNNNN-codes.jpg.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from vita_data.types import Batch, Image, Stage
from vita_model.distributed import Ranks
from vita_model.network.action import ACTION_NAMES, JOINT_NAMES
from vita_model.network.layers import byte_images
from vita_model.network.prediction import ActionPrediction, Draws, FramePrediction, Prediction
from vita_model.network.vita import Vita
from vita_model.training.batches import samples
from vita_model.training.checkpoint.run_folder import step_name
from vita_model.training.evaluation.canvas import GREY, tiled
from vita_model.training.evaluation.usage import usage_plot
from vita_model.training.stages import RULES, set_modes

_MAX_SAMPLES = 4
_QUALITY = 90


def write_previews(
    run: Path, step: int, model: Vita, stage: Stage, batches: Iterable[Batch], *, ranks: Ranks | None = None
) -> list[Path]:
    """Predict for up to four samples of each batch and write frames and actions, without changing the model.

    The last batch with frames (or actions) is shown. Every rank predicts, but only the first one writes.
    """
    predictions = [_predict(model, stage, samples(batch, slice(_MAX_SAMPLES))) for batch in batches]
    if ranks is not None and not ranks.is_first:
        return []
    folder = run / "previews"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for frames in [p.frames for p in predictions if p.frames is not None][-1:]:
        path = folder / f"{step_name(step)}-frames.jpg"
        path.write_bytes(simplejpeg.encode_jpeg(frame_grid(frames), quality=_QUALITY, colorspace="RGB"))
        written.append(path)
    if model.codebook.training:
        path = folder / f"{step_name(step)}-codes.jpg"
        plot = usage_plot(model.codebook.used)
        path.write_bytes(simplejpeg.encode_jpeg(plot, quality=_QUALITY, colorspace="RGB"))
        written.append(path)
    for actions in [p.actions for p in predictions if p.actions is not None][-1:]:
        path = folder / f"{step_name(step)}-actions.json"
        path.write_text(json.dumps(action_json(actions)) + "\n")
        written.append(path)
    return written


def frame_grid(frames: FramePrediction) -> Image:
    """Draw a grid uint8 [h, w, 3], one row per sample: start frame, true futures, predicted futures.

    Last futures that no sample has are left out; a future that a sample lacks is grey.
    """
    shown = int(frames.mask.any(dim=0).nonzero().max()) + 1 if frames.mask.any() else 1
    # Futures past the clip's end are grey.
    real = frames.mask[:, :shown, None, None, None]
    true, predicted = (torch.where(real, f[:, :shown].float(), GREY / 255) for f in (frames.true, frames.predicted))
    return tiled(byte_images(torch.cat([frames.start[:, None], true, predicted], dim=1)))


def action_json(actions: ActionPrediction) -> dict[str, object]:
    """Give chunks as JSON: names of the columns; true, predicted and mask as [sample][H][A], normalized units."""
    return {
        "dims": [*ACTION_NAMES, *JOINT_NAMES][: actions.predicted.shape[-1]],
        "true": _rounded(actions.real),
        "predicted": _rounded(actions.predicted),
        "mask": actions.mask.cpu().tolist(),
    }


@torch.no_grad()
def _predict(model: Vita, stage: Stage, batch: Batch) -> Prediction:
    model.eval()
    try:
        return RULES[stage].predict(model, batch, Draws())
    finally:
        set_modes(model, stage)


def _rounded(values: Tensor) -> list[object]:
    rounded: list[object] = np.round(values.float().cpu().numpy().astype(np.float64), 5).tolist()
    return rounded
