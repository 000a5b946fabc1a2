"""Drafts a source file for an unknown tree, and tries the draft on the tree."""

from dataclasses import dataclass, fields, replace

import numpy as np

from vita_data import declared as words
from vita_data.action_convention import Flip
from vita_data.builder.pulse import Place
from vita_data.command.exits import one_line
from vita_data.declared import (
    Camera,
    Declaration,
    Hdf5Declaration,
    Hdf5Source,
    Joints,
    LeRobotDeclaration,
    LeRobotSource,
    RldsDeclaration,
    RldsSource,
)
from vita_data.drafts.arms import ArmsDraft, draft_arms
from vita_data.drafts.contents import NUM_EPISODES, TEXT_WORDS, Contents, Format, find_contents
from vita_data.drafts.rate import contradicts, read_rate
from vita_data.drafts.render import render, used_names
from vita_data.drafts.urdf_hint import urdf_hint
from vita_data.errors import RequestError, SourceError, VitaDataError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.raw_tree.unread import Unread
from vita_data.guard import data_fault
from vita_data.motion_lag import EXACT
from vita_data.probe.lag import measured_joint_lag, measured_lag
from vita_data.probe.result import Verdict
from vita_data.probe.run import probe_tree
from vita_data.probe.sample import Watch, read_sample
from vita_data.types import ActionOrigin, CameraRole, Source, TextStyle

_ROLES = (CameraRole.PRIMARY, CameraRole.SECONDARY, CameraRole.WRIST_RIGHT, CameraRole.WRIST_LEFT)
_WRIST = ("wrist", "hand", "gripper")
_TODO_TEXT = "TODO"
_TOLD = (Verdict.HELD, Verdict.WARNING, Verdict.FAILED)
_BLANKS = {".gripper": "Gripper", "rotation.form": "RotationForm"}
"""What an author needs to fill a blank that ends so."""
_ALWAYS_UNTOLD = {
    "embodiment": "the robot",
    "licence": "the dataset's licence",
    "url": "where the dataset is from",
    "access": "how one gets it",
    "redistributable": "whether it may be passed on",
    "text_origin": "who wrote the texts: human, auto, template or task_name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A drafted source file."""

    text: str
    evidence: tuple[str, ...]
    untold: tuple[str, ...]
    """What its author must fill in or look at."""
    unread: Unread | None
    unused: tuple[str, ...]
    """Columns and texts of the dataset that the draft does not use."""


def draft_source(raw: FsspecTree, *, name: str, watch: Watch | None = None) -> Draft:
    """Draft a source.

    Args:
        raw: the tree.
        name: the source's name.
        watch: how the reading is watched, if it may have to be stopped.

    Raises:
        RequestError: the tree has none of the known formats, or neither a camera nor an arm.
        SourceError: its description or columns cannot be read.
    """
    try:
        return _drafted(raw, name, watch or Watch())
    except RequestError:
        raise
    except Exception as error:
        raise SourceError(data_fault(error, raw.where)) from error


def _drafted(raw: FsspecTree, name: str, watch: Watch) -> Draft:
    watch.pulse.at(Place(part=""))
    contents = find_contents(raw)
    watch.pulse.at(None)
    arms = draft_arms(contents.columns)
    hz, untold = _rate(contents, arms)
    untold |= _ALWAYS_UNTOLD | arms.untold
    for arm in arms.found:
        untold |= arm.untold
    if not contents.cameras and not arms.found:
        raise RequestError(f"{raw.where}: found no camera, and {arms.untold['right']}")
    declaration = _declaration(contents, name, arms, hz)
    evidence = list(dict.fromkeys(line for arm in arms.found for line in arm.evidence))
    unread: Unread | None = None
    try:
        unread, reading = _read_lag(declaration, raw, watch)
        if reading is not None:
            evidence.append(reading.evidence)
            declaration = replace(declaration, lag=reading.lag, rows_to_action=reading.rows_to_action)
        elif arms.found:
            untold["lag"] = "by how many rows the motion follows the action: the sample does not tell"
        settings = _source(declaration).Settings()
        report = probe_tree(_source(declaration), raw, settings, limit=NUM_EPISODES, watch=watch).report
        evidence += [
            f"probe {one.probe}: {one.verdict}: {one.meaning}" for one in report.results if one.verdict in _TOLD
        ]
    except VitaDataError as error:
        evidence.append(f"the draft does not read the tree yet: {error}")
    text = _text(declaration, arms, evidence, untold, root=raw.root)
    notes = tuple(f"{place}: {what}" for place, what in untold.items())
    return Draft(
        text=text, evidence=tuple(evidence), untold=notes, unread=unread, unused=_unused(contents, declaration)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _LagReading:
    """By how many rows the motion follows the action, and the row in which a row's action stands."""

    lag: int
    rows_to_action: int
    is_exact: bool
    evidence: str


def _read_lag(declaration: Declaration, raw: FsspecTree, watch: Watch) -> tuple[Unread | None, _LagReading | None]:
    """Try the action of a row and that of the next one; also return the files that nothing reads.

    Raises:
        RequestError: the tree is not as declared.
    """
    unread, found = None, []
    for late in (0, 1):
        source = _source(replace(declaration, rows_to_action=late))
        sample = read_sample(source, raw, source.Settings(), limit=NUM_EPISODES, watch=watch)
        unread = sample.unread
        told = measured_lag(sample, source.INFO) or measured_joint_lag(sample, source.INFO)
        if told is not None and told.is_sure and told.lag is not None and told.lag >= 0:
            which = "its action" if not late else "the action of the next row"
            evidence = f"the arm's motion follows {which} by {told.lag} rows ({told.what}: {told.by_lag[told.lag]:.2f})"
            reading = _LagReading(lag=told.lag, rows_to_action=late, is_exact=told.what == EXACT, evidence=evidence)
            found.append(reading)
    return unread, max(found, key=lambda one: (one.is_exact, -one.lag, -one.rows_to_action), default=None)


def _rate(contents: Contents, arms: ArmsDraft) -> tuple[float, dict[str, str]]:
    """Return the rate, and what is not told about it; adds measured joint velocities to the arms."""
    rates = []
    for draft in dict.fromkeys((*arms.found, *filter(None, (arms.left, arms.right)))):
        measured = read_rate(draft.joints, draft.columns)
        if measured is not None and draft.arm is not None and draft.arm.joints is not None:
            speeds, unit = measured.speeds, draft.arm.joints.unit_rad
            draft.evidence.append(measured.evidence)
            draft.arm = replace(
                draft.arm, joint_speeds=Joints(speeds.column.key, speeds.first, count=speeds.width, unit_rad=unit)
            )
            rates.append(measured.hz)
    if rates:
        hz = float(np.median(rates))
        if contents.fps is None or contradicts(contents.fps, hz):
            label = "" if contents.fps is None else f"; the label says {contents.fps:g}"
            return round(hz, 1), {"hz": f"the rate: joint velocities imply {hz:.3g}{label}"}
        return contents.fps, {}
    if contents.fps is None:
        return 10.0, {"hz": f"the rate of the rows: {contents.format} does not say it, and no velocities imply one"}
    return contents.fps, {"hz": f"whether the label of {contents.fps:g} rows a second is true"}


def _declaration(contents: Contents, name: str, arms: ArmsDraft, hz: float) -> Declaration:
    widths = {column.key: column.width for column in contents.columns}
    left, right = (None if draft is None else draft.arm for draft in (arms.left, arms.right))
    drafted = [draft.arm for draft in arms.found if draft.arm is not None]
    used = list(dict.fromkeys(found.key for arm in drafted for found in arm.columns()))
    cameras = tuple(Camera(role=role, key=key, turned=Flip.NONE) for key, role in _roles(contents.cameras))
    base = Declaration(
        name=name,
        title=name,
        embodiment=_TODO_TEXT,
        hz=hz,
        columns={key: widths[key] for key in used},
        cameras=cameras,
        right=right,
        left=left,
        action_origin=ActionOrigin.COMMANDED if drafted else None,
        rows_to_action=0,
        lag=0,
        text_style=TextStyle.IMPERATIVE,
        text_origin=_TODO_TEXT,
        licence=_TODO_TEXT,
        redistributable=False,
        url=_TODO_TEXT,
        access=_TODO_TEXT,
    )
    shared = {one.name: getattr(base, one.name) for one in fields(base)}
    text = next((key for key in contents.texts if any(word in key.lower() for word in TEXT_WORDS)), None)
    match contents.format:
        case Format.LEROBOT:
            return LeRobotDeclaration(**shared, labelled_fps=contents.fps or hz, text_column=None)
        case Format.RLDS:
            return RldsDeclaration(**shared, datasets=(contents.place,), text_column=text)
    return Hdf5Declaration(**shared, files=contents.place, text_attribute=text)


def _roles(cameras: tuple[str, ...]) -> list[tuple[str, CameraRole]]:
    """Give each camera a role by its name: wrists by that word, others in their order."""
    left = list(_ROLES)
    found: list[tuple[str, CameraRole]] = []
    for key in cameras:
        is_wrist = any(word in key.rpartition(".")[2].rpartition("/")[2].lower() for word in _WRIST)
        wanted = [role for role in left if (role in _ROLES[2:]) is is_wrist]
        if wanted:
            left.remove(wanted[0])
            found.append((key, wanted[0]))
    if found and CameraRole.PRIMARY in left:
        found[0] = (found[0][0], CameraRole.PRIMARY)
    return found


def _source(declaration: Declaration) -> Source:
    match declaration:
        case LeRobotDeclaration():
            return LeRobotSource(declaration)
        case RldsDeclaration():
            return RldsSource(declaration)
        case Hdf5Declaration():
            return Hdf5Source(declaration)
    raise TypeError(f"no source of {type(declaration).__name__}")


def _unused(contents: Contents, declaration: Declaration) -> tuple[str, ...]:
    cameras = {camera.key for camera in declaration.cameras}
    text = getattr(declaration, "text_column", None) or getattr(declaration, "text_attribute", None)
    keys = [column.key for column in contents.columns if column.key not in declaration.columns]
    return (*keys, *(key for key in contents.cameras if key not in cameras), *(t for t in contents.texts if t != text))


def _text(declaration: Declaration, arms: ArmsDraft, evidence: list[str], untold: dict[str, str], *, root: str) -> str:
    source = type(_source(declaration)).__name__
    # a label is a rate, though an unconfirmed one; a lag of 0 is what most recorders mean
    told = {"lag"} | ({"hz"} if isinstance(declaration, LeRobotDeclaration) and _is_label(declaration) else set())
    hidden = untold.keys() - told
    choices = "".join(f"{arm.place} = {render(arm.arm, untold=hidden, path=arm.place)}\n" for arm in arms.choices)
    chosen = f"# Readings of the same values: delete those that are wrong.\n{choices}\n" if choices else ""
    call = chosen + f"SOURCE = {source}(\n    {render(declaration, untold=hidden, indent=4)}\n)\n"
    shown = "".join(f"#   {one_line(line)}\n" for line in evidence)
    open_ = "".join(f"#   {one_line(f'{place}: {what}')}\n" for place, what in untold.items())
    blanks = {name for end, name in _BLANKS.items() if any(place.endswith(end) for place in hidden)}
    here = sorted({*used_names(call, words.__all__), *blanks})
    types = used_names(call, ["ActionOrigin", "CameraRole", "TextStyle"])
    return (
        '"""First draft of a source: replace each TODO, and look at the rest."""\n\n'
        f"from vita_data.action_convention import Flip\n"
        f"from vita_data.declared import {', '.join(here)}\n"
        f"from vita_data.types import {', '.join(types)}\n\n"
        f"# Drafted from {one_line(root)}\n# What the data tells:\n{shown}# What it does not tell:\n{open_}"
        "#   cameras: whether their roles are right, and how their images must be turned (vita-data probe --html)\n\n"
        f"{urdf_hint(arms.found)}{call}"
    )


def _is_label(declaration: LeRobotDeclaration) -> bool:
    return declaration.hz == declaration.labelled_fps
