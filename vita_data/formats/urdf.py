"""Reads the joints between two links of a robot from a URDF file, and computes where the second link is.

A URDF file comes from a stranger: its size is limited, entities are refused, and of the file only the joints between
the two links are used, so that no mesh is ever opened. The package `ikpy`, an extra, knows what the joints mean.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from vita_data.errors import RequestError
from vita_data.formats.limits import MAX_URDF_BYTES, MAX_URDF_JOINTS
from vita_data.installation import install_extra
from vita_data.types import Float64

_TURNING = ("revolute", "continuous")
_NUMBERS = (
    ("origin", "xyz", 3),
    ("origin", "rpy", 3),
    ("axis", "xyz", 3),
    ("limit", "lower", 1),
    ("limit", "upper", 1),
)
"""Elements of a joint, their attributes that are numbers, and how many."""


@dataclass(frozen=True, slots=True)
class TurningJoint:
    """A joint that turns, with its limits; infinite if it has none."""

    name: str
    lower_rad: float
    upper_rad: float


class UrdfChain:
    """The joints of a URDF file that lead from one of its links, the base, to another one, the tip."""

    def __init__(self, path: Path, *, base: str, tip: str) -> None:
        """Read the file.

        Raises:
            ValueError: the file is missing, too large, not a URDF, or has no such chain of joints.
            RequestError: the package that computes poses is not installed.
        """
        data = _content(path)
        self.file = path.name
        self.sha256 = hashlib.sha256(data).hexdigest()
        found = _joints_between(_robot(data, path), base, tip, path.name)
        for joint in found:
            _check_joint(joint, path.name)
        self._chain = _read(found, base, path.name)
        self._moves = np.array([False, *(joint.get("type") in _TURNING for joint in found)])
        turning = [link for link, moves in zip(self._chain.links, self._moves, strict=True) if moves]
        self.joints = tuple(TurningJoint(link.name, *map(float, link.bounds)) for link in turning)

    def poses(self, angles_rad: Float64) -> tuple[Float64, Float64]:
        """Compute positions [T, 3] in m and rotations [T, 3, 3] of the tip in the base.

        Args:
            angles_rad: [T, n] the angles of `joints`, all finite.
        """
        values = np.zeros((len(angles_rad), len(self._moves)))
        values[:, self._moves] = angles_rad
        found = np.array([self._chain.forward_kinematics(row) for row in values]).reshape(-1, 4, 4)
        return found[:, :3, 3], found[:, :3, :3]


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_URDF_BYTES + 1)
    except OSError as error:
        raise ValueError(f"urdf {path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_URDF_BYTES:
        raise ValueError(f"urdf {path}: expected at most {MAX_URDF_BYTES:,} bytes, the file has more")
    return data


def _robot(data: bytes, path: Path) -> Element:
    """Parse a file without a document type, in which entities would be declared."""
    try:
        text = data.decode("utf-8-sig")
        if "<!DOCTYPE" in text:
            raise ValueError(f"urdf {path}: expected a file without <!DOCTYPE, in which entities can be declared")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise ValueError(f"urdf {path}: expected XML in UTF-8, got a file that is not ({error})") from error
    if root.tag != "robot":
        raise ValueError(f"urdf {path}: expected <robot>, got <{root.tag[:80]}>")
    if any("xacro}" in element.tag for element in root):  # an expanded file may still name the namespace
        raise ValueError(f"urdf {path}: expected a URDF, got xacro; expand it first: xacro {path.name} > robot.urdf")
    return root


def _joints_between(root: Element, base: str, tip: str, file: str) -> list[Element]:
    """Follow the joints from the tip up to the base; return them from the base on."""
    above: dict[str, Element] = {}
    for joint in root.findall("joint"):
        child = _link(joint, "child", file)
        if child in above:
            raise ValueError(f"urdf {file}: link {child!r} hangs on two joints, expected one")
        above[child] = joint
    names = {link.get("name", "") for link in root.findall("link")}
    for what, name in (("base", base), ("tip", tip)):
        if name not in names:
            known = ", ".join(sorted(names)[:50]) or "none"
            raise ValueError(f"urdf {file}: expected a link {name!r} ({what}), found: {known}")
    found: list[Element] = []
    while tip != base:
        if tip not in above or len(found) == MAX_URDF_JOINTS:
            raise ValueError(f"urdf {file}: no chain of up to {MAX_URDF_JOINTS} joints leads from {base!r} to the tip")
        found.append(above[tip])
        tip = _link(above[tip], "parent", file)
    return found[::-1]


def _link(joint: Element, tag: str, file: str) -> str:
    found = joint.find(tag)
    name = None if found is None else found.get("link")
    if not name:
        raise ValueError(f"urdf {file}: expected <{tag} link=...> of joint {joint.get('name')!r}, got none")
    return name


def _check_joint(joint: Element, file: str) -> None:
    where, kind = f"urdf {file}: joint {joint.get('name')!r}", joint.get("type")
    if not joint.get("name"):
        raise ValueError(f"urdf {file}: expected a name of each joint, got one without")
    if kind not in (*_TURNING, "fixed"):
        raise ValueError(f"{where}: expected a joint that turns or is fixed, got {kind}; choose another base or tip")
    if joint.find("mimic") is not None:
        raise ValueError(f"{where}: it follows another joint (mimic); choose a base and a tip without it in between")
    for tag, attribute, count in _NUMBERS:
        element = joint.find(tag)
        if element is not None and attribute in element.attrib:
            _require_numbers(element, attribute, count, where)
    axis = joint.find("axis")
    if kind != "fixed" and axis is not None and not any(_floats(axis.get("xyz", "1 0 0"))):
        raise ValueError(f"{where}: expected an axis, got {axis.get('xyz')!r}")


def _require_numbers(element: Element, attribute: str, count: int, where: str) -> None:
    text = element.get(attribute, "")
    try:
        values = _floats(text)
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(f"{where}: expected {count} finite in {element.tag} {attribute}, got {text[:80]!r}")


def _floats(text: str) -> list[float]:
    return [float(word) for word in text.split()]


def _read(joints: Sequence[Element], base: str, file: str) -> Any:
    """Give ikpy a file with nothing but these joints: it follows the first joint of a link, and on behind the tip."""
    try:
        from ikpy.chain import Chain
    except ImportError as error:
        raise RequestError(f"urdf {file}: poses from joints need ikpy ({error}); {install_extra('urdf')}") from error
    robot = Element("robot", name="chain")
    SubElement(robot, "link", name=base)
    for joint in joints:
        SubElement(robot, "link", name=_link(joint, "child", file))
        robot.append(_reduced(joint))
    text = ElementTree.tostring(robot, encoding="unicode")
    active = [False, *(joint.get("type") in _TURNING for joint in joints)]
    return Chain.from_urdf_file(io.StringIO(text), base_elements=[base], active_links_mask=active)


def _reduced(joint: Element) -> Element:
    """Copy what positions depend on, with an axis of length 1."""
    kind = joint.get("type", "")
    copy = Element("joint", name=joint.get("name", ""), type=kind)
    for tag in ("parent", "child", "origin", "limit", *(("axis",) if kind in _TURNING else ())):
        if (found := joint.find(tag)) is not None:
            copy.append(deepcopy(found))
    axis = copy.find("axis")
    if axis is not None:
        values = np.array(_floats(axis.get("xyz", "1 0 0")))
        axis.set("xyz", " ".join(map(repr, (values / np.linalg.norm(values)).tolist())))
    return copy
