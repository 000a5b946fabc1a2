"""P1: whether a download has the form that the source's `INFO` declares.

The source refuses wrong keys, shapes and dtypes of the raw files; each refusal is a fault here.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from vita_data.pages.drawing.html import Cell, Table
from vita_data.probe.readings import reading_rows
from vita_data.probe.result import Measure, Probe, ProbeResult, Verdict, setting_keys
from vita_data.probe.sample import Sample, SampledArm, SampledEpisode
from vita_data.types import Arms, CameraRole, Modality, SourceInfo, SourceSettings

_SIDES = {
    Arms.NONE: frozenset[str](),
    Arms.BASE: frozenset[str](),
    Arms.RIGHT: frozenset({"right"}),
    Arms.LEFT: frozenset({"left"}),
    Arms.BOTH: frozenset({"left", "right"}),
}


def schema(sample: Sample, info: SourceInfo, settings: SourceSettings) -> ProbeResult:
    """P1: check that episodes are read without faults, with the cameras, arms and actions that `INFO` declares."""
    problems = list(dict.fromkeys(_problems(sample, info)))
    partial = [] if problems else list(_partial(sample, info))
    verdict = Verdict.FAILED if problems else Verdict.WARNING if partial else Verdict.HELD
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    meaning = "; ".join(partial) or "episodes are read, with the cameras, arms and actions that are declared"
    dropped = Counter(str(drop.reason) for drop in sample.drops)
    rows: list[tuple[Cell, ...]] = [*reading_rows(sample)]
    rows += [(f"dropped by the source: {code}", count, "", "") for code, count in dropped.items()]
    rows += [(f"problem {number}", None, problem, "") for number, problem in enumerate(problems, 1)]
    return ProbeResult(
        probe=Probe.SCHEMA, verdict=verdict, meaning=f"{problems[0]}{more}" if problems else meaning,
        measures=(
            Measure(name="episodes read", value=len(sample.episodes), unit="", limit="above 0"),
            Measure(name="unreadable episodes or parts", value=len(sample.faults), unit="", limit="0"),
        ),
        settings=setting_keys(settings, ("release", "camera", "mode")),
        table=Table(header=("what", "episodes", "shape or type", "values"), rows=tuple(rows)),
    )  # fmt: skip


def _problems(sample: Sample, info: SourceInfo) -> Iterator[str]:
    yield from sample.faults
    if not sample.episodes:
        reasons = ", ".join(sorted({str(drop.reason) for drop in sample.drops})) or "none came out"
        yield f"no good episode in {sample.num_parts_read} parts; dropped for: {reasons}"
        return
    for sampled in sample.episodes:
        yield from _episode_problems(sampled, info)
    seen = {role for sampled in sample.episodes for role in sampled.num_frames}
    for role in sorted(set(info.cameras) - seen):
        yield f"camera {role} ({info.cameras[role]}) is declared, but no episode has it"


def _episode_problems(sampled: SampledEpisode, info: SourceInfo) -> Iterator[str]:
    episode = sampled.episode
    where, num_rows = f"episode {episode.id}", len(episode.step_index)
    yield from (f"{where}: {problem}" for problem in (*_camera_problems(sampled, info), *_arm_problems(sampled, info)))
    for name, value in sampled.readings():
        if len(value) != num_rows:
            yield f"{where}: {name} has {len(value)} rows, expected {num_rows} as in step_index"


def _camera_problems(sampled: SampledEpisode, info: SourceInfo) -> Iterator[str]:
    num_rows = len(sampled.episode.step_index)
    for role, num_frames in sampled.num_frames.items():
        if role not in info.cameras:
            yield f"camera {role} is not declared"
        if num_frames != num_rows:
            yield f"camera {role} has {num_frames} frames for {num_rows} rows"
    if info.cameras and CameraRole.PRIMARY not in sampled.num_frames:
        yield f"no {CameraRole.PRIMARY} camera"


def _arm_problems(sampled: SampledEpisode, info: SourceInfo) -> Iterator[str]:
    episode = sampled.episode
    sides, wanted = {arm.side for arm in sampled.arms}, _SIDES[episode.arms]
    acting = {arm.side for arm in sampled.arms if arm.delta is not None or _has_joint_targets(arm)}
    if episode.arms is not info.arms:
        yield f"expected arms {info.arms} as declared, got {episode.arms}"
    if sides != wanted:
        yield f"expected readings of arms {episode.arms}, got {', '.join(sorted(sides)) or 'none'}"
    if info.modality is Modality.PAIRED and acting != wanted:
        yield f"no actions for the arm {', '.join(sorted(wanted - acting))}"
    if episode.action_origin is not info.action_origin:
        yield f"expected {info.action_origin} actions as declared, got {episode.action_origin}"


def _has_joint_targets(sampled: SampledArm) -> bool:
    action = sampled.arm.action
    return action is not None and action.joint_target_rad is not None


def _partial(sample: Sample, info: SourceInfo) -> Iterator[str]:
    """Yield what some episodes lack although the download has the declared form."""
    num_episodes = len(sample.episodes)
    for role in sorted(info.cameras):
        num_missing = sum(role not in sampled.num_frames for sampled in sample.episodes)
        if num_missing:
            yield f"camera {role} is missing in {num_missing} of {num_episodes} episodes"
    num_nonfinite = sum(
        not all(np.isfinite(value).all() for _, value in sampled.readings()) for sampled in sample.episodes
    )
    if num_nonfinite:
        yield f"{num_nonfinite} of {num_episodes} episodes hold NaN or infinity and will be dropped"
