"""Estimates the duration of Ego4D narrations: each has only one moment, so its interval depends on the narration rate.

Source: EgoVLP (arXiv:2206.01670, EgoClip): a half-width of beta / (2 alpha) seconds around the moment, where beta is
    the
mean gap between a video's narrations, and alpha is the mean of all beta.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import mean

from vita_data.sources.ego4d.json_files import Narration, Span

_BOUNDS_S = (1.0, 8.0)


def narration_spans(narrations: Sequence[Narration], *, alpha_s: float, min_s: float) -> list[Span | None]:
    """Return the interval of every narration of one video; None for a narration without a time.

    Assumes: intervals last 1 to 8 s, at least `min_s`, and do not start before the video; each pass over a video has
        its own beta; a pass with a single narration uses alpha as its beta.
    """
    gaps_s = mean_gaps_s(narrations)
    return [_around(said.time_s, gaps_s.get(said.annotator_pass, alpha_s) / alpha_s, min_s) for said in narrations]


def alpha_of(gaps_s: Iterable[float]) -> float:
    """Compute alpha from the mean gaps of all passes over all videos, in seconds; 1 s if there are none."""
    return mean(list(gaps_s) or [1.0]) or 1.0


def mean_gaps_s(narrations: Sequence[Narration]) -> dict[str, float]:
    """Compute beta of each pass over one video, in seconds; files list narrations in any order."""
    times: dict[str, list[float]] = {}
    for said in narrations:
        if said.time_s is not None:
            times.setdefault(said.annotator_pass, []).append(said.time_s)
    return {
        told: mean(after - before for before, after in pairwise(sorted(moments)))
        for told, moments in times.items()
        if len(moments) > 1
    }


def _around(time_s: float | None, width_s: float, min_s: float) -> Span | None:
    if time_s is None:
        return None
    narrowest, widest = _BOUNDS_S
    width_s = max(min(max(width_s, narrowest), widest), min_s)
    start_s = max(time_s - width_s / 2, 0.0)
    return Span(start_s=start_s, end_s=max(time_s + width_s / 2, start_s + min_s))
