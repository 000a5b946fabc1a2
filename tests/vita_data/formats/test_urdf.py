"""Poses from a URDF are those of an independent computation; hostile and odd files are refused in words."""

from pathlib import Path

import numpy as np
import pytest

from vita_data.formats.limits import MAX_URDF_BYTES
from vita_data.formats.urdf import UrdfChain
from vita_data.types import Float64

UR5E = [  # a, d in m and alpha in rad of each joint, as the maker publishes them
    (0.0, 0.1625, np.pi / 2), (-0.425, 0.0, 0.0), (-0.3922, 0.0, 0.0),
    (0.0, 0.1333, np.pi / 2), (0.0, 0.0997, -np.pi / 2), (0.0, 0.0996, 0.0),
]  # fmt: skip


def joint(name: str, parent: str, child: str, *, kind: str = "revolute", inside: str = "") -> str:
    return f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>{inside}</joint>'


def origin(x: float, y: float, z: float, roll: float = 0.0) -> str:
    return f'<origin xyz="{x!r} {y!r} {z!r}" rpy="{roll!r} 0 0"/>'


def robot(*parts: str, links: str = "abcd") -> str:
    return f'<robot name="r">{"".join(f"<link name={name!r}/>" for name in links)}{"".join(parts)}</robot>'


def dh_robot(table: list[tuple[float, float, float]] = UR5E) -> str:
    """Write a table of Denavit-Hartenberg parameters as a URDF: each joint turns about z, then comes its link."""
    places = [(0.0, 0.0, 0.0), *table]
    parts = [
        joint(
            f"j{number}",
            f"l{number}",
            f"l{number + 1}",
            inside=f'{origin(a, 0.0, d, alpha)}<axis xyz="0 0 1"/><limit lower="-3.2" upper="3.2"/>',
        )
        for number, (a, d, alpha) in enumerate(places[:-1])
    ]
    a, d, alpha = places[-1]
    parts.append(joint("flange", f"l{len(table)}", "tool", kind="fixed", inside=origin(a, 0.0, d, alpha)))
    links = "".join(f'<link name="l{number}"/>' for number in range(len(table) + 1))
    return f'<robot name="dh">{links}<link name="tool"/>{"".join(parts)}</robot>'


def dh_pose(angles: Float64, table: list[tuple[float, float, float]] = UR5E) -> Float64:
    """Multiply the Denavit-Hartenberg matrices of one row."""
    pose = np.eye(4)
    for theta, (a, d, alpha) in zip(angles, table, strict=True):
        c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        pose = pose @ [[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [0, sa, ca, d], [0, 0, 0, 1]]
    return pose


def chain(path: Path, text: str | bytes, base: str = "a", tip: str = "d") -> UrdfChain:
    path = path / "arm.urdf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return UrdfChain(path, base=base, tip=tip)


def test_two_links_in_a_plane_are_where_the_closed_form_says(tmp_path: Path) -> None:
    z = '<axis xyz="0 0 2"/>'  # of another length than 1
    text = robot(
        joint("shoulder", "a", "b", inside=z),
        joint("elbow", "b", "c", kind="continuous", inside=origin(0.4, 0, 0) + z),
        joint("tool", "c", "d", kind="fixed", inside=origin(0.3, 0, 0) + z),
    )
    found = chain(tmp_path, text)
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (50, 2))
    xyz, rotation = found.poses(angles)
    first, second = angles[:, 0], angles.sum(axis=1)
    assert xyz[:, 0] == pytest.approx(0.4 * np.cos(first) + 0.3 * np.cos(second), abs=1e-12)
    assert xyz[:, 1] == pytest.approx(0.4 * np.sin(first) + 0.3 * np.sin(second), abs=1e-12)
    assert not xyz[:, 2].any()
    assert rotation[:, 0, 0] == pytest.approx(np.cos(second), abs=1e-12)
    assert rotation[:, 1, 0] == pytest.approx(np.sin(second), abs=1e-12)


def test_a_six_axis_arm_is_where_its_denavit_hartenberg_matrices_say(tmp_path: Path) -> None:
    found = chain(tmp_path, dh_robot(), base="l0", tip="tool")
    assert [(one.name, one.lower_rad, one.upper_rad) for one in found.joints] == [
        (f"j{number}", -3.2, 3.2) for number in range(6)
    ]
    angles = np.random.default_rng(1).uniform(-3, 3, (40, 6))
    xyz, rotation = found.poses(angles)
    expected = np.array([dh_pose(row) for row in angles])
    assert xyz == pytest.approx(expected[:, :3, 3], abs=1e-12)
    assert rotation == pytest.approx(expected[:, :3, :3], abs=1e-12)


def test_only_the_joints_between_base_and_tip_are_used(tmp_path: Path) -> None:
    """A branch that stands first, joints behind the tip, a mesh that does not exist, a joint elsewhere in the file."""
    mesh = '<visual><geometry><mesh filename="file:///nowhere/../etc/passwd"/></geometry></visual>'
    text = robot(
        joint("branch", "a", "x", kind="prismatic"),
        joint("on_the_way", "a", "b", inside='<axis xyz="0 0 1"/>'),
        joint("behind", "b", "c", kind="floating"),
        '<transmission><joint name="on_the_way"/></transmission>',
        f'<link name="x">{mesh}</link>',
    )
    found = chain(tmp_path, text, tip="b")
    assert [one.name for one in found.joints] == ["on_the_way"]
    assert found.joints[0].lower_rad == -np.inf


def test_an_expanded_xacro_file_is_read(tmp_path: Path) -> None:
    """It keeps the namespace, and a comment that names the file it was made from."""
    made = "<!-- autogenerated by xacro from /opt/arm/xacro/arm.urdf.xacro -->"
    links = '<link name="a"/><link name="d"/>'
    text = f'<robot name="r" xmlns:xacro="http://www.ros.org/wiki/xacro">{made}{links}{joint("j", "a", "d")}</robot>'
    assert [one.name for one in chain(tmp_path, text).joints] == ["j"]


def test_no_rows_have_no_poses(tmp_path: Path) -> None:
    xyz, rotation = chain(tmp_path, dh_robot(), base="l0", tip="tool").poses(np.zeros((0, 6)))
    assert (xyz.shape, rotation.shape) == ((0, 3), (0, 3, 3))


LAUGHS = '<!DOCTYPE robot [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><robot name="&b;"/>'
SECRET = '<!DOCTYPE robot [<!ENTITY x SYSTEM "file:///etc/passwd">]><robot name="r"><link name="&x;"/></robot>'
TURNS = joint("j", "a", "d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "without <!DOCTYPE"),
        (SECRET, "without <!DOCTYPE"),
        (SECRET.encode("utf-16"), "expected XML in UTF-8"),
        (('<?xml version="1.0" encoding="utf-7"?>' + robot(TURNS)).encode() + b"\xff", "expected XML in UTF-8"),
        (robot(TURNS) + " " * MAX_URDF_BYTES, "expected at most 4,194,304 bytes"),
        ("<robot>", "expected XML in UTF-8"),
        ("<a>" * 500_000, "expected XML in UTF-8"),
        ("", "expected XML in UTF-8"),
        ("version https://git-lfs.github.com/spec/v1", "expected XML in UTF-8"),
        ("<mujoco/>", "expected <robot>, got <mujoco>"),
        (
            '<robot name="r" xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:arm/></robot>',
            "expand it first: xacro arm.urdf",
        ),
        (robot(TURNS, links="ab"), "expected a link 'd' .tip., found: a, b"),
        (robot(TURNS, links="d"), "expected a link 'a' .base., found: d"),
        (robot(joint("j", "a", "b")), "no chain of up to 64 joints leads from 'a' to the tip"),
        (robot(joint("j", "c", "d"), joint("k", "d", "c")), "no chain of up to 64 joints"),
        (robot(TURNS, joint("k", "b", "d")), "link 'd' hangs on two joints"),
        (robot('<joint name="j" type="revolute"/>'), "expected <child link=...> of joint 'j'"),
        (robot('<joint name="j" type="revolute"><child link="d"/></joint>'), "expected <parent link=...> of joint 'j'"),
        (robot(joint("", "a", "d")), "expected a name of each joint"),
        (robot(joint("j", "a", "d", kind="prismatic")), "joint 'j': expected a joint that turns or is fixed"),
        (robot(joint("j", "a", "d", kind="ball")), "joint 'j': expected a joint that turns or is fixed, got ball"),
        (robot(joint("j", "a", "d", inside='<mimic joint="k"/>')), "joint 'j': it follows another joint"),
        (robot(joint("j", "a", "d", inside='<origin xyz="0 0"/>')), "expected 3 finite in origin xyz, got '0 0'"),
        (robot(joint("j", "a", "d", inside='<origin rpy="0 nan 0"/>')), "expected 3 finite in origin rpy"),
        (robot(joint("j", "a", "d", inside='<origin xyz="${x} 0 0"/>')), "expected 3 finite in origin xyz"),
        (robot(joint("j", "a", "d", inside='<axis xyz="0 0 0"/>')), "joint 'j': expected an axis, got '0 0 0'"),
        (robot(joint("j", "a", "d", inside='<limit lower="low"/>')), "expected 1 finite in limit lower, got 'low'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        chain(tmp_path, text)
    assert "arm.urdf" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"arm.urdf: cannot be read \(No such file or directory\)"):
        UrdfChain(tmp_path / "arm.urdf", base="a", tip="b")
    with pytest.raises(ValueError, match="cannot be read"):
        UrdfChain(tmp_path, base="a", tip="b")
