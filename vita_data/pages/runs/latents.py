"""Shows what information a run's latents contain: errors with own and other latents, codes, verdict and picture.

The figures come from RUN/evaluation.json; vita_model/README.md explains them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vita_data.pages.drawing.chart import Chart, Series, charts
from vita_data.pages.drawing.html import Cell, Markup, Table, element, facts, folded, paragraph, table, text
from vita_data.pages.runs.previews import preview_picture
from vita_data.pages.runs.run_files import Evaluation, Metrics, newest_latents, read_evaluation, read_evaluations

_Figures = Mapping[str, float]

_ERRORS = (
    ("frames: absolute error (L1)", "frames", "l1", "copy_l1"),
    ("actions: squared error (normalized)", "actions", "mse", "mean_mse"),
)
"""What is decoded, its part of the names, the name of the error, and that of the trivial predictor's error."""
_CROSSED = (
    ("actions decoded from the video's codes: squared error", "cross/action_mse", "", "cross/action_mean_mse"),
    ("frames decoded from the actions' codes: absolute error (L1)", "cross/frames_l1", "cross/frames_own_l1",
     "cross/frames_copy_l1"),
)  # fmt: skip
_CODES = (
    ("video", "video", "perplexity_video", ("frames",)),
    ("actions", "action", "perplexity_action", ("actions",)),
    ("latents predicted by the backbone", "predicted", "token_perplexity", ("frames", "actions")),
)
"""Origin of the codes, their part of the names, their perplexity in metrics.jsonl, and the decoders that read them."""
_FACTS = (
    ("paired windows whose video and actions use the same code", "codes/agreement", ".1%"),
    ("the same, expected by chance", "codes/agreement_chance", ".1%"),
    ("share of the motion's variance that the video's code explains (R2)", "codes/motion_r2", ".2f"),
    ("norm of the smallest code (near zero: all small latents map to it)", "codes/least_norm", ".3g"),
    ("different subtask sequences chosen", "subtasks/distinct", ".0f"),
)
_FRAMES_WORDS = (
    "the frames, one row per sample: present, true, decoded from the sample's own latents, from another sample's, from "
    "the mean of the latents; grey where the clip ends before the frame"
)
_PATHS_WORDS = (
    "the hand's path within the chunk, one panel per sample (x to the right, y up): true in black, from {latents} in "
    "blue, from another sample's in orange"
)
_CODES_WORDS = (
    "the codes that video (rows) and actions (columns) of the same windows use, most frequent first, darker for more; "
    "orange on the diagonal: both use the same code"
)


def latent_parts(run: Path, metrics: Metrics) -> list[Markup]:
    """Show the evaluation and picture of a run's latents; empty if the run has neither.

    Raises:
        ShardError: one of the files is damaged.
    """
    evaluation, preview = read_evaluation(run), newest_latents(run)
    if evaluation is None and preview is None:
        return []
    parts = [element("h3", text("What information the latents contain"))]
    if evaluation is None:
        parts.append(paragraph("Not measured yet: a run is evaluated every eval_every steps and after its last "
                               "step.", css="explain"))  # fmt: skip
    else:
        tables = [*_tables(evaluation.figures, metrics), *_course(read_evaluations(run))]
        parts += [*_verdict(evaluation), *([folded("The figures behind this", *tables)] if tables else [])]
    if preview is not None:
        parts.append(preview_picture(preview, run, _caption(preview.step, evaluation)))
    return parts


def _caption(step: int, evaluation: Evaluation | None) -> str:
    """Explain the parts of the picture: those whose figures were measured, or all if nothing was."""
    figures: _Figures = {} if evaluation is None else evaluation.figures
    paths = _PATHS_WORDS.format(latents=f"the {'video' if 'cross/action_mse' in figures else 'sample'}'s own latents")
    parts = (("frames/l1", _FRAMES_WORDS), ("actions/mse", paths), ("codes/agreement", _CODES_WORDS))
    shown = [words for figure, words in parts if figure in figures]
    if not shown:
        shown = [words for _, words in parts]
        return f"After step {step}; a part that the run does not have is omitted. First {'. Then '.join(shown)}."
    return f"After step {step}{', from top to bottom' if len(shown) > 1 else ''}: {'. Then '.join(shown)}."


def _verdict(evaluation: Evaluation) -> Iterator[Markup]:
    yield paragraph(
        f"Measured after step {evaluation.step}. A decoder uses its latents if its error rises a lot with another "
        "sample's latents or with their mean; an error below the trivial predictor's does not show that.",
        css="explain",
    )  # fmt: skip
    for line in evaluation.verdict:
        yield paragraph(line[:1].upper() + line[1:] + ".", css="warning" if line.startswith("warning") else "")


def _tables(figures: _Figures, metrics: Metrics) -> Iterator[Markup]:
    yield from _table(
        ("decoded", "own latents", "another sample's latents", "mean of the latents", "another sample's subtasks",
         "trivial: copied frame, mean action", "own / another's"),
        [
            (title, *(figures.get(f"{kind}/{prefix}{error}") for prefix in ("", "shuffled_", "mean_latent_",
             "shuffled_subtasks_")), figures.get(f"{kind}/{trivial}"), _ratio(figures, kind, error))
            for title, kind, error, trivial in _ERRORS
        ],
    )  # fmt: skip
    crossed = [(title, *(figures.get(name) for name in names)) for title, *names in _CROSSED]
    yield from _table(("paired windows", "across", "own codes", "trivial: copied frame, mean action"), crossed)
    yield from _table(
        ("codes of", "effective rank", "codes used", "perplexity (codes in even use)", "frames: own / another's",
         "actions: own / another's"),
        [
            (title, figures.get(f"codes/rank_{kind}"), figures.get(f"codes/used_{kind}"), _last(metrics, perplexity),
             *(_ratio(figures, name, error) if name in decoders else None for _, name, error, _ in _ERRORS))
            for title, kind, perplexity, decoders in _CODES
            if f"codes/rank_{kind}" in figures
        ],
    )  # fmt: skip
    known = [(title, format(figures[name], form)) for title, name, form in _FACTS if name in figures]
    if known:
        yield facts(known)


def _table(header: tuple[str, ...], rows: Sequence[tuple[Cell, ...]]) -> Iterator[Markup]:
    """Draw a table without rows and columns that are empty for this run."""
    rows = [row for row in rows if row[1] is not None]
    if not rows:
        return
    kept = [column for column in range(len(header)) if any(row[column] is not None for row in rows)]
    chosen = tuple(tuple(row[column] for column in kept) for row in rows)
    yield table(Table(header=tuple(header[column] for column in kept), rows=chosen))


def _ratio(figures: _Figures, kind: str, error: str) -> float | None:
    """Return the error with the own latents divided by that with another sample's: 1 if the decoder ignores them."""
    own, other = figures.get(f"{kind}/{error}"), figures.get(f"{kind}/shuffled_{error}")
    return None if own is None or not other else own / other


def _last(metrics: Metrics, metric: str) -> float | None:
    """Return the newest value of a scalar that the steps of any modality may log."""
    newest = max(metrics.of(metric), key=lambda curve: curve.step[-1], default=None)
    return None if newest is None else float(newest.value[-1])


def _course(evaluations: Sequence[Evaluation]) -> Iterator[Markup]:
    """Draw how the figures changed, if the run was evaluated more than once."""
    if len(evaluations) < 2:
        return
    drawn = [
        _chart(title, evaluations, {
            "own latents": f"{kind}/{error}", "another sample's": f"{kind}/shuffled_{error}",
            "mean latent": f"{kind}/mean_latent_{error}", "trivial": f"{kind}/{trivial}",
        })
        for title, kind, error, trivial in _ERRORS
    ]  # fmt: skip
    drawn.append(_chart("effective rank", evaluations, {title: f"codes/rank_{kind}" for title, kind, *_ in _CODES}))
    yield charts([chart for chart in drawn if chart.series])


def _chart(title: str, evaluations: Sequence[Evaluation], names: Mapping[str, str]) -> Chart:
    steps = np.array([one.step for one in evaluations], np.float64)
    values = {word: np.array([one.figures.get(name, np.nan) for one in evaluations]) for word, name in names.items()}
    lines = [
        Series(name=word, x=steps, y=y, colour=colour)
        for colour, (word, y) in enumerate(values.items())
        if np.isfinite(y).any()
    ]
    return Chart(title=f"Measured: {title}", x_label="training step", y_label=title, series=tuple(lines))
