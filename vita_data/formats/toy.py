"""Material for toy raw trees: machine-readable frames and physically consistent arm trajectories.

A toy frame encodes in black and white cells its episode, step and camera, and in coloured corners whether it was
flipped or its channels were swapped, so that a test can read all of this back from a stored 256x256 JPEG.
"""

from dataclasses import dataclass

import numpy as np
import simplejpeg

from vita_data.geometry import matrix_from_euler_xyz
from vita_data.types import Float64, Image, ResizeMode

_GRID = 8
_CORNERS = {(0, 0): (220, 30, 30), (0, 7): (30, 200, 30), (7, 0): (30, 30, 220), (7, 7): (220, 220, 30)}
_STEP_BITS, _CAMERA_BITS, _EPISODE_BITS = 14, 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyMark:
    """The decoded mark of a toy frame; `upright` and `rgb` tell whether its corners are in the right places."""

    step: int
    camera: int
    episode: int
    upright: bool
    rgb: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyArm:
    """A consistent arm trajectory: poses [T], gripper opening, joints; the hand points down (roll near pi)."""

    xyz_m: Float64
    rotation: Float64
    gripper_open: Float64
    joint_position_rad: Float64
    joint_velocity_rad_s: Float64


def toy_frame(
    height: int, width: int, *, step: int, camera: int = 0, episode: int = 0, resize: ResizeMode = ResizeMode.PLAIN
) -> Image:
    """Draw frame `step` of a camera as uint8 [height, width, 3] RGB; the code survives `resize` to 256x256 and JPEG."""
    image = _background(height, width, step=step, camera=camera, episode=episode)
    top, left, tall, wide = _code_area(height, width, resize)
    for (row, column), colour in _marks(step=step, camera=camera, episode=episode).items():
        y, x = (top + tall * row // _GRID, left + wide * column // _GRID)
        image[y : top + tall * (row + 1) // _GRID, x : left + wide * (column + 1) // _GRID] = colour
    return image


def toy_jpeg(image: Image, *, quality: int = 95) -> bytes:
    """Encode a toy frame as a 4:2:0 JPEG, as in releases."""
    return bytes(simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420"))


def read_toy_frame(image: Image) -> ToyMark:
    """Read the mark of a square toy frame [n, n, 3]; the bits are read as if the frame were upright."""
    size = image.shape[0]
    centre = (np.arange(_GRID) * 2 + 1) * size // (2 * _GRID)
    cells = image[np.ix_(centre, centre)].astype(int)
    order = [cells[rc] for rc in _CORNERS]
    expected = np.array(list(_CORNERS.values()))
    upright = all(np.abs(np.sort(cell) - np.sort(want)).max() < 90 for cell, want in zip(order, expected, strict=True))
    upright = upright and bool(cells[7, 7][1] > 128) and bool(cells[0, 7][1] > 128)
    rgb = bool(np.abs(np.stack(order) - expected).max() < 90)
    bits = (cells[1:4].reshape(-1, 3).mean(axis=1) > 128).astype(int)
    values, at = [], 0
    for width in (_STEP_BITS, _CAMERA_BITS, _EPISODE_BITS):
        values.append(int("".join(map(str, bits[at : at + width])), 2))
        at += width
    return ToyMark(step=values[0], camera=values[1], episode=values[2], upright=upright, rgb=rgb)


def toy_arm(num_steps: int, *, hz: float, seed: int, num_joints: int = 7) -> ToyArm:
    """Make a smooth reach-grasp-lift motion of `num_steps` rows with the hand pointing down."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_steps) / hz
    phase, rate = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.5, 1.2, 6)
    wave = np.sin(rate * time[:, None] + phase)
    xyz = np.array([0.4, 0.0, 0.25]) + wave[:, :3] * np.array([0.08, 0.08, 0.06])
    euler = np.array([np.pi, 0.0, 0.3]) + wave[:, 3:] * np.array([0.15, 0.15, 0.4])
    middle = num_steps // 2
    gripper = np.where(np.arange(num_steps) < middle, 1.0, 0.0)
    offset = rng.uniform(-1, 1, num_joints)
    joints = offset + 0.3 * np.sin(time[:, None] * 0.8 + offset)
    velocity = 0.3 * 0.8 * np.cos(time[:, None] * 0.8 + offset)
    return ToyArm(
        xyz_m=xyz,
        rotation=matrix_from_euler_xyz(euler),
        gripper_open=gripper,
        joint_position_rad=joints,
        joint_velocity_rad_s=velocity,
    )


def _code_area(height: int, width: int, resize: ResizeMode) -> tuple[int, int, int, int]:
    if resize is ResizeMode.PLAIN:
        return 0, 0, height, width
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def _marks(*, step: int, camera: int, episode: int) -> dict[tuple[int, int], tuple[int, int, int]]:
    bits = f"{step:0{_STEP_BITS}b}{camera:0{_CAMERA_BITS}b}{episode:0{_EPISODE_BITS}b}"
    marks: dict[tuple[int, int], tuple[int, int, int]] = {}
    for i in range(24):
        on = i < len(bits) and bits[i] == "1"
        marks[1 + i // _GRID, i % _GRID] = (235, 235, 235) if on else (20, 20, 20)
    return marks | _CORNERS


def _background(height: int, width: int, *, step: int, camera: int, episode: int) -> Image:
    rows, columns = np.mgrid[0:height, 0:width]
    shade = 90 + 60 * np.sin(rows / height * 3 + episode) * np.cos(columns / width * 3 + camera)
    image = np.stack([shade + 30, shade, shade - 20], axis=-1)
    y, x = height * (0.75 + 0.08 * np.sin(step * 0.11)), width * (0.5 + 0.3 * np.sin(step * 0.07 + episode))
    disc = (rows - y) ** 2 + (columns - x) ** 2 < (0.09 * min(height, width)) ** 2
    image[disc] = (240, 140, 20)
    return np.asarray(np.clip(image, 0, 255), np.uint8)
