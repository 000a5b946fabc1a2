"""Training runs on a page: loss and code curves, actual shares, predicted and true frames and actions."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from vita_data.pages.drawing.chart import Band, Chart, Series, Shade, Stroke, charts
from vita_data.pages.drawing.html import Cell, Markup, Section, Table, element, folded, join, paragraph, table, text
from vita_data.pages.runs.latents import latent_parts
from vita_data.pages.runs.previews import preview_picture
from vita_data.pages.runs.run_files import (
    ActionPreview,
    Curve,
    Metrics,
    PicturePreview,
    newest_actions,
    newest_frames,
    read_metrics,
)
from vita_data.pages.runs.sources import source_parts
from vita_data.pages.shards.column_groups import Group, arm_action_groups

_MAX_CURVE_POINTS = 200
_MAX_LOSSES = 3
"""How many curves of losses are not folded: a row on a wide screen."""
_MAX_SAMPLES = 4
_PREVIEW_GROUPS = (*arm_action_groups("left arm", 0), *arm_action_groups("right arm", 7))

_LOSSES: Mapping[str, str] = {
    "loss": "Total loss (weighted sum of the terms)",
    "l1": "Frames: absolute error (L1, weighted)",
    "ssim": "Frames: 1 - structural similarity (SSIM, weighted)",
    "action": "Actions: squared error (normalized units, weighted)",
    "commitment": "Codebook: distance between encodings and their codes (commitment, weighted)",
    "usage_match": "Codebook: difference in code use between the modalities (weighted)",
    "codebook": "Codebook: distance of the codes to the encodings (weighted)",
    "features": "Frames: error of the predicted features (weighted)",
    "cross": "Actions decoded from the video's codes: squared error (weighted)",
    "tokens": "Latent tokens of frames: cross-entropy (weighted)",
    "chunk_tokens": "Latent tokens of actions: cross-entropy (weighted)",
    "subtasks": "Subtasks: cross-entropy to those read from the motion (weighted)",
}
_CODES: Mapping[str, str] = {
    "token_perplexity": "Perplexity of the codes within a batch",
    "perplexity_video": "Perplexity of the codes for video (moving average)",
    "perplexity_action": "Perplexity of the codes for actions (moving average)",
    "overlap": "Overlap of the codes used for video and actions (0 disjoint, 1 equal)",
    "dead_codes": "Number of unused codes",
    "subtask_entropy": "Entropy of the chosen subtask tokens (nats)",
}
_PACE: Mapping[str, str] = {
    "grad_norm": "Gradient norm before clipping",
    "lr": "Learning rate",
    "samples_per_s": "Speed (samples per second)",
}


_PHASE = "continuous phase, no codes yet"


def run_section(run: Path) -> Section:
    """Make the section of a run.

    Raises:
        RequestError: the folder is not a run, or the run has not written a step yet.
        ShardError: one of the run's files is damaged.
    """
    metrics = read_metrics(run)
    known = {**_LOSSES, **_CODES, **_PACE}
    rest = {curve.metric: curve.metric for curve in metrics.curves if curve.metric not in known}
    parts = [
        paragraph(_steps_words(metrics)),
        *_losses(metrics),
        *_folded_curves(metrics, _CODES, "Codes: how well the codebook is used; a perplexity of 1 means one code"),
        *_folded_curves(metrics, {**_PACE, **rest}, "Pace: learning rate, gradient norm and speed"),
        *latent_parts(run, metrics),
        *source_parts(run),
        *_shares(metrics),
        *_frames(newest_frames(run), run),
        *_actions(newest_actions(run)),
    ]
    stages = "" if metrics.stages == (run.name,) else f": {', '.join(metrics.stages)}"
    return Section(
        title=f"Training run {run.name}{stages}, {metrics.num_steps:,} steps",
        explanation="From the run's metrics.jsonl, evaluation.json and newest previews; hover over a chart to see "
        "values.",
        body=join(parts),
    )  # fmt: skip


def _steps_words(metrics: Metrics) -> str:
    total = sum(metrics.num_steps_of.values())
    shown = (f"{modality} {count:,} ({count / total:.2%})" for modality, count in metrics.num_steps_of.items())
    return f"Steps by the modality of their batches: {', '.join(shown)}."


def _losses(metrics: Metrics) -> list[Markup]:
    drawn = [_chart(metrics, metric, title) for metric, title in _LOSSES.items() if metrics.of(metric)]
    if not drawn:
        return []
    bands = _bands(metrics)
    drawn = [replace(chart, bands=bands) for chart in drawn]
    shown, rest = drawn[:_MAX_LOSSES], drawn[_MAX_LOSSES:]
    more = [folded(f"{len(rest)} more curves", charts(rest))] if rest else []
    words = f"What training minimizes; one line per modality, lower is better.{_phase_words(metrics)}"
    return [element("h3", text("Losses")), paragraph(words, css="explain"), charts(shown), *more]


def _bands(metrics: Metrics) -> tuple[Band, ...]:
    if metrics.continuous is None:
        return ()
    first, last = metrics.continuous
    return (Band(start=first, stop=last, meaning=_PHASE, shade=Shade.PHASE),)


def _phase_words(metrics: Metrics) -> str:
    """Explain the jump of the total loss where codes begin: terms are added that were zero before."""
    if metrics.continuous is None:
        return ""
    last = metrics.continuous[1]
    return (
        f" Up to step {last:,} (shaded) the run is in its continuous phase: encodings are not mapped to codes. "
        "Afterwards the codes are filled, and the codebook's terms, which were zero, join the total loss, which "
        "therefore jumps; the other terms show whether training goes on as before."
    )


def _folded_curves(metrics: Metrics, titles: Mapping[str, str], words: str) -> list[Markup]:
    drawn = [_chart(metrics, metric, title) for metric, title in titles.items() if metrics.of(metric)]
    return [folded(words, charts(drawn))] if drawn else []


def _chart(metrics: Metrics, metric: str, title: str) -> Chart:
    colours = {modality: colour for colour, modality in enumerate(sorted({c.modality for c in metrics.curves}))}
    lines = tuple(_line(curve, colours[curve.modality]) for curve in metrics.of(metric))
    return Chart(title=title, x_label="training step", y_label=metric, series=lines)


def _line(curve: Curve, colour: int) -> Series:
    """Draw a curve; a long one as means over equal groups of steps, since noise would hide its course."""
    per_point = math.ceil(len(curve.step) / _MAX_CURVE_POINTS)
    if per_point == 1:
        return Series(name=curve.modality, x=curve.step, y=curve.value, colour=colour)
    firsts = np.arange(0, len(curve.step), per_point)
    sizes = np.diff(firsts, append=len(curve.step))
    x, y = (np.add.reduceat(values, firsts) / sizes for values in (curve.step, curve.value))
    return Series(name=f"{curve.modality} (means of {per_point} steps)", x=x, y=y, colour=colour)


def _shares(metrics: Metrics) -> list[Markup]:
    rows: list[tuple[Cell, ...]] = [
        (modality, source, f"{share:.2%}")
        for modality, shares in metrics.shares.items()
        for source, share in shares.items()
    ]
    if not rows:
        return []
    words = "Realised shares: the part of each modality's samples that each source provided, up to the last step"
    return [folded(words, table(Table(header=("modality", "source", "realised share"), rows=tuple(rows))))]


def _frames(preview: PicturePreview | None, run: Path) -> list[Markup]:
    if preview is None:
        return []
    caption = (
        f"After step {preview.step}, one row per sample. Columns from the left: the start image, the true future "
        "images, the predicted ones in the same order; grey after the end of the clip."
    )
    return [element("h3", text("Predicted and true frames")), preview_picture(preview, run, caption)]


def _actions(preview: ActionPreview | None) -> list[Markup]:
    if preview is None:
        return []
    words = paragraph("The next steps of some samples in normalized units (-1..1 is q01..q99 of the source): the true "
                      "chunk is solid, the predicted one dashed. Columns that a robot does not have are omitted.",
                      css="explain")  # fmt: skip
    samples = (_sample(preview, number) for number in range(min(len(preview.mask), _MAX_SAMPLES)))
    return [folded(f"Predicted and true actions after step {preview.step}", words, *samples)]


def _sample(preview: ActionPreview, number: int) -> Markup:
    drawn = [_chunk_chart(preview, number, group) for group in _PREVIEW_GROUPS
             if preview.mask[number][:, group.columns()].any()]  # fmt: skip
    return charts(drawn) if drawn else paragraph(f"Sample {number + 1} has no valid action.")


def _chunk_chart(preview: ActionPreview, sample: int, group: Group) -> Chart:
    steps = np.arange(preview.mask.shape[1], dtype=np.float64)
    lines = [
        Series(name=f"{name} {word}", x=steps, colour=colour, stroke=stroke,
               y=np.where(preview.mask[sample, :, column], values[sample, :, column], np.nan))
        for colour, (name, column) in enumerate(zip(group.names, group.columns(), strict=True))
        if preview.mask[sample, :, column].any()
        for word, values, stroke in (("true", preview.true, Stroke.SOLID), ("pred.", preview.predicted, Stroke.DASHED))
    ]  # fmt: skip
    return Chart(title=f"Sample {sample + 1}: {group.title}", x_label="step of the chunk", y_label="normalized",
                 series=tuple(lines))  # fmt: skip
