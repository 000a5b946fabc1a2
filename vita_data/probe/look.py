"""P6 and P9: checks that only a person can make, with a numeric hint if possible; the sheets are on the page."""

import numpy as np

from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, not_applicable, setting_keys
from vita_data.probe.sample import Sample
from vita_data.types import SourceInfo, SourceSettings


def colour(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P6: hint at swapped channels: rooms, wood and skin are rarely more blue than red.

    Assumes: the median picture of a camera is typical; a blue wall can make the hint wrong, so it is never a failure.
    """
    if not _has_pictures(sample):
        return not_applicable(Probe.COLOUR, "no picture of the sample could be read")
    warmth = {role: _warmth(sample, role) for role in sorted(info.cameras)}
    blue = [role for role, value in warmth.items() if value is not None and value < 0]
    meaning = "look at the sheet of the page (--html): skin and wood must not be blue"
    return ProbeResult(
        probe=Probe.COLOUR,
        verdict=Verdict.WARNING if blue else Verdict.LOOK,
        meaning=f"{', '.join(blue)} has more blue than red, the channels may be swapped; {meaning}"
        if blue
        else meaning,
        measures=tuple(
            Measure(name=f"{role}: red minus blue, median", value=value, unit="of 255", limit="above 0, a hint only")
            for role, value in warmth.items()
        ),
        settings=setting_keys(settings, ("channel", "colour", "color", "bgr", "rgb")),
    )


def orientation(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P9: ask the user to look at the sheet; no number can tell up from down."""
    if not _has_pictures(sample):
        return not_applicable(Probe.ORIENTATION, "no picture of the sample could be read")
    return ProbeResult(
        probe=Probe.ORIENTATION,
        verdict=Verdict.LOOK,
        meaning=f"look at the sheet of the page (--html): each of {len(info.cameras)} cameras must be upright, text on "
        "objects not mirrored",
        settings=setting_keys(settings, ("orientation", "flip", "rotate")),
    )


def _has_pictures(sample: Sample) -> bool:
    return any(sampled.frames for sampled in sample.episodes)


def _warmth(sample: Sample, role: str) -> float | None:
    frames = [frame.picture for sampled in sample.episodes for frame in sampled.frames if frame.role == role]
    if not frames:
        return None
    return float(np.median([picture[..., 0].mean() - picture[..., 2].mean() for picture in frames]))
