"""Detects which release a LIBERO file or RLDS folder belongs to from its content: all releases have the same names.

The official recorder stores what is seen AFTER each action, OpenVLA's replay what is seen BEFORE it, with the same keys
in files of the same name. If one is read as the other, every pair is one control step off.

Source: LIBERO, scripts/create_dataset.py: `states[t]` is the simulator before action t and `obs` after it, `data` and
each demonstration have attributes, images are 128x128. OpenVLA, regenerate_libero_dataset.py: everything is from before
action t (row 0 of `states` is copied from the official file), no attributes, 256x256, failed replays are omitted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from vita_data.errors import EpisodeError, raise_machine_fault
from vita_data.formats.hdf5.inside import read_attribute
from vita_data.formats.hdf5.opener import find_dataset, find_group, read_floats
from vita_data.formats.hdf5.rows import DAMAGE
from vita_data.motion_lag import Run, response
from vita_data.types import Float64

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
OFFICIAL_SIZE = (128, 128)
"""Size of the official images, (height, width)."""
_RECORDER = frozenset({"problem_info", "env_args", "env_name", "bddl_file_name", "num_demos", "total"})
"""Attributes of `data` that the official recorder writes."""
_MAX_DEMOS = 3
"""Number of demonstrations to check; one file comes from one recorder."""
_JOINTS_AT = 1
"""Column of the first joint in a flattened simulator state: the time comes first."""
_MIN_STEP_RAD, _MIN_RATIO = 1e-4, 4.0
_BY_ORDER, _BY_SIGN = 3, 1


class Release(StrEnum):
    """The releases that are read."""

    OFFICIAL = "official"
    """HDF5 of LIBERO's recorder: observation t is seen after action t."""
    REPLAYED = "replayed"
    """HDF5 of OpenVLA's replay: observation t is seen before action t."""
    NO_NOOPS = "no_noops"
    """That replay in RLDS form."""


ROWS_TO_ACTION: Mapping[Release, int] = {Release.OFFICIAL: 1, Release.REPLAYED: 0, Release.NO_NOOPS: 0}
"""By how many rows the action issued for an observation follows it."""


_BY_LAG: Mapping[int | None, Release] = {-1: Release.OFFICIAL, 0: Release.REPLAYED}
"""The release by the number of rows by which the hand follows its actions, as recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation about a file, the release it indicates, and its weight."""

    release: Release
    weight: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The result for a file: its release (None if the findings contradict each other), and the findings."""

    release: Release | None
    seen: str

    def unclear(self, name: str) -> str:
        """Return the message that a file's release cannot be told, and what to do."""
        choices = " or ".join(f"--set release={release}" for release in (Release.OFFICIAL, Release.REPLAYED))
        return (
            f"{name}: cannot tell whether its observations were recorded after their actions (official) or before "
            f"them (replayed); if you know, add {choices}; found: {self.seen}"
        )


def suite_of(folder: str) -> str | None:
    """Return the suite that a folder's name begins with: libero_10 for `libero_10_no_noops`; None for another name."""
    found = [suite for suite in SUITES if folder == suite or folder.startswith((f"{suite}_", f"{suite}-"))]
    return found[0] if found else None


def expect_release(file: h5py.File, names: Sequence[str], *, name: str) -> Told:
    """Detect the release of an HDF5 file by its signs alone if they agree, else as `tell_release` does.

    Used for planning, since it makes few requests to an object store. A file may still turn out to be of another
    release when it is read, such as an official one copied without attributes and at another size; it is then read as
    that.
    """
    signs = list(_signs(file, names, name))
    agree = len({sign.release for sign in signs}) == 1
    return _judged(signs) if agree else tell_release(file, names, name=name)


def tell_release(file: h5py.File, names: Sequence[str], *, name: str) -> Told:
    """Detect the release of an HDF5 file by its signs and by the order of recording in its first demonstrations.

    If the states do not show the order, or the signs contradict them, the response of the hand to its actions is
    checked too. A file with all signs of an official one is not checked so: it is read as official and judged by probe
    P4.
    """
    signs, orders = list(_signs(file, names, name)), list(_orders(file, names, name))
    told = _judged([*orders, *signs])
    looks_official = all(sign.release is Release.OFFICIAL for sign in signs)
    if looks_official or (orders and told.release is not None):
        return told
    return _judged([*orders, *_answers(file, names, name), *signs])


def _judged(findings: Sequence[Finding]) -> Told:
    """Weigh the findings.

    Assumes: the order of recording counts three times (both for states and for the hand's response), each sign once. A
        release is chosen if its weight is at least twice the other's: copies that kept or lost attributes, or that were
        replayed at another size, are still detected.
    """
    weights = Counter({Release.OFFICIAL: 0, Release.REPLAYED: 0})
    for finding in findings:
        weights[finding.release] += finding.weight
    (best, most), (_, least) = weights.most_common()
    orders = {finding.release for finding in findings if finding.weight == _BY_ORDER}
    told = best if most >= 2 * least and most > _BY_SIGN and len(orders) < 2 else None
    return Told(release=told, seen="; ".join(f"{finding.text} (as in {finding.release})" for finding in findings))


def _orders(file: h5py.File, names: Sequence[str], name: str) -> Iterator[Finding]:
    orders = {_order(demo, name) for demo in _demos(file, names[:_MAX_DEMOS], name)}
    for release in sorted(order for order in orders if order is not None):
        when = "after" if release is Release.OFFICIAL else "before"
        text = f"joints are those of the simulator's states {when} the action"
        yield Finding(release=release, weight=_BY_ORDER, text=text)


def _answers(file: h5py.File, names: Sequence[str], name: str) -> Iterator[Finding]:
    """Find which action moves the hand between an observation and the next: the later row's or the same row's."""
    runs = [run for demo in _demos(file, names[:_MAX_DEMOS], name) if (run := _run(demo, name)) is not None]
    found = response(runs, most=np.full(6, np.inf), expected=0)
    release = _BY_LAG.get(found.lag) if found is not None and found.is_sure else None
    if release is not None:
        whose = "the next row's" if release is Release.OFFICIAL else "its own row's"
        yield Finding(release=release, weight=_BY_ORDER, text=f"the hand is moved by {whose} action")


def _run(demo: h5py.Group, name: str) -> Run | None:
    """Read the commands and the motion of the hand; None if they are incomplete."""
    try:
        command = read_floats(demo, "actions", width=7, name=name)
        hand, axis_angle = (read_floats(demo, f"obs/{key}", width=3, name=name) for key in ("ee_pos", "ee_ori"))
    except EpisodeError:
        return None
    if not 1 < len(command) == len(hand) == len(axis_angle):
        return None
    if not np.isfinite(np.column_stack([command, hand, axis_angle])).all():
        return None
    turned = Rotation.from_rotvec(axis_angle)
    motion = np.column_stack([np.diff(hand, axis=0), (turned[1:] * turned[:-1].inv()).as_rotvec()])
    return Run(action=command[:-1, :6], target_step=None, motion=motion)


def _signs(file: h5py.File, names: Sequence[str], name: str) -> Iterator[Finding]:
    has = bool(_RECORDER & _attributes(file["data"], name))
    yield _sign(has, "attributes of the recorder on 'data'", "no such attributes on 'data'")
    for demo in islice(_demos(file, names, name), 1):  # the first that can be opened
        has = bool(_attributes(demo, name))
        yield _sign(has, "attributes on the demonstrations", "none on the demonstrations")
        if (size := _image_size(demo, name)) is not None:
            text = f"images of {size[0]}x{size[1]}"
            yield _sign(size == OFFICIAL_SIZE, text, text)
    counted = _count(file["data"], name)
    if counted not in (None, len(names)):
        text = f"num_demos is {counted} but {len(names)} demonstrations are there"
        yield Finding(release=Release.REPLAYED, weight=_BY_SIGN, text=text)


def _sign(is_official: object, text: str, otherwise: str) -> Finding:
    release = Release.OFFICIAL if is_official else Release.REPLAYED
    return Finding(release=release, weight=_BY_SIGN, text=text if is_official else otherwise)


def _demos(file: h5py.File, names: Sequence[str], name: str) -> Iterator[h5py.Group]:
    for key in names:
        try:
            yield find_group(file, f"data/{key}", name=name)
        except EpisodeError:
            continue  # it fails when it is read


def _attributes(node: h5py.Group, name: str) -> set[str]:
    """Return the names of the attributes; their values, such as whole scenes, are not read."""
    try:
        return set(node.attrs)
    except DAMAGE as error:
        raise_machine_fault(error, name)
        return set()


def _count(data: h5py.Group, name: str) -> int | None:
    try:
        counted = read_attribute(data, "num_demos")
    except DAMAGE as error:
        raise_machine_fault(error, name)
        return None
    return int(counted) if isinstance(counted, int | np.integer) else None


def _image_size(demo: h5py.Group, name: str) -> tuple[int, int] | None:
    try:
        shape = find_dataset(demo, "obs/agentview_rgb", name=name).shape
    except EpisodeError:
        return None
    return (int(shape[1]), int(shape[2])) if len(shape) == 4 else None


def _order(demo: h5py.Group, name: str) -> Release | None:
    """Tell whether the joints of row t are those of the simulator's state t or t + 1; None if neither fits better.

    Source: a flattened state is the time, then the positions of all joints, the robot's first (robosuite, MjSimState).
    Assumes: a fit is better if it is 4 times closer, and fits if it is twice as close as the joints move in a step.
    """
    try:
        joints = read_floats(demo, "obs/joint_states", width=7, name=name)
        states = _state_joints(demo, name)
    except EpisodeError:
        return None
    if states.shape != joints.shape or len(joints) < 4:
        return None
    seen, at_row, after_row = joints[1:-1], states[1:-1], states[2:]  # row 0 of a replay's states is a copy
    fits = {
        Release.REPLAYED: float(np.abs(at_row - seen).mean()),
        Release.OFFICIAL: float(np.abs(after_row - seen).mean()),
    }
    step = float(np.abs(np.diff(joints, axis=0)).mean())
    (best, close), (_, far) = sorted(fits.items(), key=lambda each: each[1])
    is_told = step > _MIN_STEP_RAD and far > _MIN_RATIO * close and close < step / 2
    return best if is_told else None


def _state_joints(demo: h5py.Group, name: str) -> Float64:
    found = find_dataset(demo, "states", name=name)
    if found.ndim != 2 or found.shape[1] < _JOINTS_AT + 7:
        return np.zeros((0, 7))
    try:
        return np.asarray(found[:, _JOINTS_AT : _JOINTS_AT + 7], np.float64)
    except DAMAGE as error:
        raise_machine_fault(error, name)
        raise EpisodeError(f"{name}: {found.name} cannot be read; the file is damaged") from error
