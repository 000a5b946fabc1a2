"""Draw the README's picture from real output of a run: a demonstration, its latent tokens, frames and actions.

    python -m pipelines.overview --shards DIR --run RUN --source NAME --out FILE.png [--key CLIP] [--window N]

RUN is a co-trained or fine-tuned run that can predict frames, for example from `pipelines/closed_loop.sh`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vita_data.command.exits import OneLineParser
from vita_data.errors import VitaDataError
from vita_data.slots import RIGHT_ARM
from vita_data.types import Float32, Image
from vita_model.policy.policy import PolicyOptions, VitaPolicy
from vita_model.policy.preview import Comparison, compare

_WIDTH, _MARGIN, _TILE, _NUM_TILES, _HEADING, _CELL = 1200, 16, 136, 8, 44, 46
_PANEL_HEIGHT = 150
_BLACK, _GREY, _BLUE, _ORANGE = (20, 20, 20), (120, 120, 120), (31, 119, 180), (255, 127, 14)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_LEAST_SPAN_M = 1e-3
Colour = tuple[int, int, int]
_CURVES = (("dx", 0, (31, 119, 180)), ("dy", 1, (44, 160, 44)), ("dz", 2, (214, 39, 40)))


def overview(found: Comparison) -> Image:
    """Draw the picture of a window as uint8 [h, w, 3]."""
    real = np.flatnonzero(found.frame_mask)
    chosen = real[np.linspace(0, len(real) - 1, _NUM_TILES - 1).round().astype(int)]
    imagined = found.decision.frames
    if imagined is None:
        raise ValueError("expected predicted frames from the policy, got none")
    true = [found.start, *found.true_frames[chosen]]
    instruction = found.title.split("'")[1] if "'" in found.title else ""
    bands = [
        _heading("1  normalized shards", f'256 px frames, unified actions, masks: "{instruction}"'),
        _tiles(true),
        _heading("2  one stream of latent tokens", "codes of the shared codebook, from the first frame and text"),
        _tokens(found.decision.codes),
        _heading("3  decoded into future frames", "the first frame is given, the others are imagined"),
        _tiles([found.start, *imagined[chosen]]),
        _heading("4  and into actions", "lines: predicted; dots: what the demonstration did; m a step"),
        _curves(found.true_actions[:, RIGHT_ARM], found.decision.right),
    ]
    return np.concatenate([*bands, _blank(_MARGIN)])


def _blank(height: int) -> Image:
    return np.full((height, _WIDTH, 3), 255, np.uint8)


def _heading(title: str, said: str) -> Image:
    band = _blank(_HEADING)
    cv2.putText(band, title, (_MARGIN, _HEADING - 14), _FONT, 0.62, _BLACK, 1, cv2.LINE_AA)
    (width, _), _ = cv2.getTextSize(title, _FONT, 0.62, 1)
    cv2.putText(band, said, (_MARGIN + width + 18, _HEADING - 14), _FONT, 0.5, _GREY, 1, cv2.LINE_AA)
    return band


def _tiles(frames: Sequence[Image]) -> Image:
    band, apart = _blank(_TILE), (_WIDTH - 2 * _MARGIN - _TILE) // (_NUM_TILES - 1)
    for number, frame in enumerate(frames):
        left = _MARGIN + number * apart
        band[:, left : left + _TILE] = cv2.resize(frame, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return band


def _tokens(codes: Sequence[int]) -> Image:
    """Draw each token as a square, coloured by its code."""
    band = _blank(_CELL)
    for number, code in enumerate(codes):
        left = _MARGIN + number * (_CELL + 8)
        colour = cv2.cvtColor(np.array([[[code * 67 % 180, 90, 240]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
        band[:, left : left + _CELL] = colour
        cv2.putText(band, str(code), (left + 6, _CELL // 2 + 5), _FONT, 0.45, _BLACK, 1, cv2.LINE_AA)
    return band


def _curves(true: Float32, predicted: Float32) -> Image:
    """Draw displacements and gripper over the steps of the chunk [H, 7], one panel each."""
    moved = np.concatenate([true[:, :3], predicted[:, :3]])
    far = max(float(np.abs(moved).max()), _LEAST_SPAN_M)
    panels = [
        _panel(f"{name}, -{1000 * far:.0f} to {1000 * far:.0f} mm", true[:, column], predicted[:, column], colour,
               span=(-far, far)) for name, column, colour in _CURVES
    ]  # fmt: skip
    panels.append(_panel("gripper, 0 closed to 1 open", true[:, 6], predicted[:, 6], _ORANGE, span=(0.0, 1.0)))
    band, width = _blank(_PANEL_HEIGHT), panels[0].shape[1]
    for number, panel in enumerate(panels):
        left = _MARGIN + number * (width + _MARGIN)
        band[:, left : left + width] = panel
    return band


def _panel(title: str, true: Float32, predicted: Float32, colour: Colour, *, span: tuple[float, float]) -> Image:
    """Draw predicted values [H] as a line and true ones as dots."""
    width = (_WIDTH - 5 * _MARGIN) // 4
    panel = _blank(_PANEL_HEIGHT)[:, :width].copy()
    cv2.rectangle(panel, (0, 0), (width - 1, _PANEL_HEIGHT - 1), (200, 200, 200), 1)
    cv2.putText(panel, title, (8, 18), _FONT, 0.42, _BLACK, 1, cv2.LINE_AA)
    across = 14 + np.arange(len(true)) * (width - 28) / max(len(true) - 1, 1)
    points = [
        np.stack([across, _PANEL_HEIGHT - 14 - (values - span[0]) / (span[1] - span[0]) * (_PANEL_HEIGHT - 48)], axis=1)
        .round().astype(np.int32) for values in (predicted, true)
    ]  # fmt: skip
    line = points[0].reshape(-1, 1, 2)
    cv2.polylines(panel, [line], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)
    for across_px, down_px in points[1].tolist():
        cv2.circle(panel, (across_px, down_px), 3, _BLACK, -1, cv2.LINE_AA)
    return panel


def main(argv: list[str] | None = None) -> int:
    """Draw the picture."""
    parser = OneLineParser(prog="overview", description="Draw the README's picture from a run's output.")
    parser.add_argument("--shards", required=True, help="folder of the built sources")
    parser.add_argument("--run", required=True, type=Path, help="run folder of stage cotrain or finetune")
    parser.add_argument("--source", required=True, help="source of the clip")
    parser.add_argument("--key", help="key of the clip (default: the first one)")
    parser.add_argument("--window", type=int, default=0, help="index of the window (default: %(default)s)")
    parser.add_argument("--out", required=True, type=Path, help="PNG file to write")
    arguments = parser.parse_args(argv)
    try:
        policy = VitaPolicy.from_pretrained(arguments.run, PolicyOptions(imagine=True))
        found = compare(policy, arguments.shards, source=arguments.source, key=arguments.key, window=arguments.window)
    except VitaDataError as fault:
        print(f"overview: {fault}", file=sys.stderr)
        return 1
    picture = cv2.cvtColor(overview(found), cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    arguments.out.write_bytes(encoded.tobytes())
    print(f"{arguments.out}: {found.title}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
