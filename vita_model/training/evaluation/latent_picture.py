"""A picture of the information in the latents: RUN/previews/step-NNNNNNNN-latents.jpg.

From top to bottom, without what the stage does not have:
Frames, one row per sample: present, true, and decoded from the sample's own latents, from another sample's latents, and
from the mean of the latents. Of several futures, the last one is shown.
Paths of the hand within the chunk, one panel per sample, from the middle of the panel, x to the right and y up: true in
black, decoded from the own latents in blue, from another sample's latents in orange.
In a warmup with paired windows, a matrix of the codes of video (rows) and actions (columns) of the same windows, most
frequent codes first. The diagonal, where both have the same code, is orange.
In such a warmup, paths are decoded from the video's code; in one without paired windows, from the chunk's own code.
Letters: S samples, H steps of a chunk, n windows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from vita_data.slots import ARMS
from vita_data.types import Batch, Float32, Image, Int64, Modality, Stage
from vita_model.distributed import Ranks, all_rows
from vita_model.network.layers import byte_images
from vita_model.network.prediction import ActionPrediction, Draws, FramePrediction, Prediction, ShownLatents
from vita_model.network.vita import Vita
from vita_model.training.checkpoint.run_folder import step_name
from vita_model.training.evaluation.canvas import GREY, MARGIN, WHITE, draw_line, enlarged, shaded, stacked, tiled
from vita_model.training.evaluation.latents import paired_codes, redecoded
from vita_model.training.stages import RULES, set_modes

_MAX_SAMPLES = 4
_MAX_CODES = 48
_LEAST_TILE, _PANEL, _MATRIX, _MAX_CELL = 96, 144, 384, 24
"""Pixels."""
_QUALITY = 90
_BLACK, _BLUE, _ORANGE = (0, 0, 0), (31, 119, 180), (255, 127, 14)
_LEFT, _RIGHT = (slice(arm.start, arm.start + 2) for arm in ARMS)
"""Columns of a batch's action with the x and y motion of each hand."""


@dataclass(slots=True)
class LatentView:
    """Data for the picture."""

    frames: Image | None = None
    """uint8 [S, 5, s, s, 3]: present, true, decoded from own latents, another sample's, the mean."""
    paths: Float32 | None = None
    """[S, 3, H + 1, 2] paths from (0, 0) in normalized units: true, from own latents, from another sample's."""
    codes: Int64 = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """[n, 2] codes of video and actions of the same windows."""


def write_latents(
    run: Path, step: int, model: Vita, stage: Stage, batches: Iterable[Batch], *, ranks: Ranks | None = None
) -> list[Path]:
    """Draw the picture for some batches and write it, without changing the model.

    Every rank must call this with the same number of batches and the same modalities; only the first rank writes.
    """
    view = seen(model, stage, batches)
    picture = drawn(view)
    if picture is None or (ranks is not None and not ranks.is_first):
        return []
    path = run / "previews" / f"{step_name(step)}-latents.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(simplejpeg.encode_jpeg(picture, quality=_QUALITY, colorspace="RGB"))
    return [path]


@torch.no_grad()
def seen(model: Vita, stage: Stage, batches: Iterable[Batch]) -> LatentView:
    """Collect the picture's data: codes from all paired windows of warmup, the rest from the first suitable batch.

    Paired batches are preferred, because their frames and paths show the same samples.
    """
    found: dict[Modality, LatentView] = {}
    pairs: list[Tensor] = []
    model.eval()
    try:
        for batch in batches:
            crosses = stage is Stage.WARMUP and batch.modality is Modality.PAIRED
            if batch.modality in found and not crosses:
                continue
            prediction = RULES[stage].predict(model, batch, Draws())
            pairs += _pairs(model, prediction) if crosses else []
            if batch.modality not in found:
                found[batch.modality] = _view(model, stage, batch, prediction)
    finally:
        set_modes(model, stage)
    views = [found[m] for m in (Modality.PAIRED, Modality.VIDEO, Modality.ACTION) if m in found]
    return LatentView(
        frames=next((view.frames for view in views if view.frames is not None), None),
        paths=next((view.paths for view in views if view.paths is not None), None),
        codes=np.asarray(all_rows(torch.cat(pairs)).cpu().numpy()) if pairs else np.zeros((0, 2), np.int64),
    )


def _pairs(model: Vita, prediction: Prediction) -> list[Tensor]:
    """Give the codes [n, 2] of windows with unmasked video and actions; an empty list before codes exist."""
    frames, actions = prediction.frames, prediction.actions
    if frames is None or actions is None:
        return []
    codes = paired_codes(prediction.quantized[0], model.encode_chunk(actions.true, actions.mask))
    real = frames.mask.flatten() & actions.mask.flatten(1).any(dim=1)
    return [] if codes is None else [codes[real].flatten(0, 1)]


def _view(model: Vita, stage: Stage, batch: Batch, own: Prediction) -> LatentView:
    other = redecoded(model, stage, batch, own, ShownLatents.SHUFFLED)
    mean = redecoded(model, stage, batch, own, ShownLatents.MEAN)
    view = LatentView()
    if own.frames is not None and other.frames is not None and mean.frames is not None:
        view.frames = _frames(own.frames, other.frames.predicted, mean.frames.predicted)
    if own.actions is not None and other.actions is not None:
        view.paths = _paths(own.actions, other.actions.predicted)
    return view


def _frames(own: FramePrediction, other: Tensor, mean: Tensor) -> Image:
    """Choose the last unmasked future of each sample; grey if it has none."""
    mask = own.mask[:_MAX_SAMPLES]
    number = torch.arange(mask.shape[1], device=mask.device)
    last = (number * mask).argmax(dim=1)
    row = torch.arange(len(mask), device=mask.device)
    futures = torch.stack([one[row, last].float() for one in (own.true, own.predicted, other, mean)], dim=1)
    futures = torch.where(mask.any(dim=1)[:, None, None, None, None], futures, GREY / 255)
    return byte_images(torch.cat([own.start[:_MAX_SAMPLES, None], futures], dim=1))


def _paths(own: ActionPrediction, other: Tensor) -> Float32:
    """Sum the steps of the right hand, or of the left hand if the right one is masked."""
    mask = own.mask[:_MAX_SAMPLES]
    is_right = mask[..., _RIGHT].flatten(1).any(dim=1)[:, None, None]
    moves = [torch.where(mask, one[:_MAX_SAMPLES], 0.0).float() for one in (own.true, own.predicted, other)]
    steps = torch.stack([torch.where(is_right, one[..., _RIGHT], one[..., _LEFT]) for one in moves], dim=1)
    paths = torch.nn.functional.pad(steps.cumsum(dim=2), (0, 0, 1, 0))
    return np.asarray(paths.cpu().numpy())


def drawn(view: LatentView) -> Image | None:
    """Draw a view as uint8 [h, w, 3]; None if it is empty."""
    blocks = []
    if view.frames is not None:
        blocks.append(tiled(enlarged(view.frames, max(_LEAST_TILE // view.frames.shape[2], 1))))
    if view.paths is not None:
        blocks.append(tiled(np.stack([_panel(lines, _reach(view.paths)) for lines in view.paths])[None]))
    if len(view.codes):
        blocks.append(tiled(_matrix(view.codes)[None, None]))
    return np.ascontiguousarray(stacked(blocks)) if blocks else None


def _reach(paths: Float32) -> float:
    """Give the largest distance of any path along x or y, as the common scale of all panels."""
    return max(float(np.abs(paths).max()), 1e-6)


def _panel(lines: Float32, reach: float) -> Image:
    """Draw the paths: true [0], on top; from own latents [1]; from another sample's latents [2]."""
    panel = np.full((_PANEL, _PANEL, 3), WHITE, np.uint8)
    panel[[0, -1]] = panel[:, [0, -1]] = GREY
    middle = (_PANEL - 1) / 2
    scale = (middle - 2 * MARGIN) / reach
    for line, colour in ((lines[2], _ORANGE), (lines[1], _BLUE), (lines[0], _BLACK)):
        draw_line(panel, middle + line * np.array([scale, -scale]), colour)
    return panel


def _matrix(codes: Int64) -> Image:
    """Draw how often pairs of codes occur together, for the most frequent codes."""
    taken, numbers = np.unique(codes, return_inverse=True)
    frequent = np.argsort(-np.bincount(numbers.reshape(-1)), kind="stable")[:_MAX_CODES]
    counts = np.zeros((len(taken), len(taken)), np.int64)
    np.add.at(counts, tuple(numbers.reshape(codes.shape).T), 1)
    cell = min(max(_MATRIX // len(frequent), 1), _MAX_CELL)
    squares = shaded(counts[np.ix_(frequent, frequent)], cell=cell, colour=_BLUE, diagonal=_ORANGE)
    return np.pad(squares, ((1, 1), (1, 1), (0, 0)), constant_values=GREY)
