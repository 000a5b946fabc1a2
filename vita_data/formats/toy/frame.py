"""Toy frames: a scene that moves as the toy's numbers say, under a mark that tests read."""

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
import simplejpeg

from vita_data.formats.toy.arm import ToyArm
from vita_data.formats.toy.mark import put_toy_mark
from vita_data.scene import table
from vita_data.scene.camera import Camera
from vita_data.scene.painter import Body, Box
from vita_data.scene.road import road_picture
from vita_data.types import CameraRole, Float64, Image, ResizeMode

_DRAWN_PX = 256
"""Pictures are drawn at most this large and then stretched: drawing takes most of the time."""
_STAND_M = np.array([-0.42, 0.0, table.TABLE_Z_M - 0.14])
"""Where the toy arm's coordinates begin, in the world."""
_APART_M = np.array([0.0, 0.13, 0.0])
"""Half the distance of two arms."""
_SHOULDER_M = np.array([0.3, 0.42, table.TABLE_Z_M + 0.1])
"""Where a human arm comes from."""
_OPEN_M, _HUMAN_HZ = 0.08, 12.0
_PILLAR = (150, 150, 158)
_WRISTS = (CameraRole.WRIST_RIGHT, CameraRole.WRIST_LEFT)


def toy_frame(
    height: int,
    width: int,
    *,
    step: int,
    camera: int = 0,
    episode: int = 0,
    resize: ResizeMode = ResizeMode.PLAIN,
    arms: Sequence[ToyArm] = (),
    role: CameraRole = CameraRole.PRIMARY,
) -> Image:
    """Draw frame `step` of a camera as uint8 [height, width, 3] RGB; its mark survives `resize` to 256x256 and JPEG.

    Args:
        height: number of rows.
        width: number of columns.
        step: row of `arms` that is shown, and the mark's step.
        camera: number of the camera in the mark.
        episode: number in the mark; the seed of what lies on the table.
        resize: how the frame will be made square.
        arms: the right arm, or the right and the left arm; a human hand if there is none.
        role: from where the table is seen.
    """
    size = min(_DRAWN_PX, height, width)
    hands = [_hand(arm, step, place * _APART_M) for arm, place in zip(arms, _places(len(arms)), strict=True)]
    bodies = _things(arms, step, episode)
    if not hands:
        hands = [_human(step, episode)]
        bodies += table.human_hand(hands[0])
    else:
        bodies += [body for hand in hands for body in table.gripper(hand)]
        bodies += [body for hand in hands if role not in _WRISTS for body in table.arm(hand)]
    picture = table.picture(_camera(role, hands), bodies, size, oversampling=1)
    return _marked(picture, height, width, step=step, camera=camera, episode=episode, resize=resize)


def toy_frames(
    height: int,
    width: int,
    steps: Iterable[int],
    *,
    camera: int = 0,
    episode: int = 0,
    arms: Sequence[ToyArm] = (),
    role: CameraRole = CameraRole.PRIMARY,
) -> Iterator[Image]:
    """Draw the frames `steps` of one camera, see `toy_frame`."""
    for step in steps:
        yield toy_frame(height, width, step=step, camera=camera, episode=episode, arms=arms, role=role)


def toy_road_frame(height: int, width: int, *, step: int, episode: int, xy_m: Float64, yaw_rad: float) -> Image:
    """Draw what a toy rover at a place [2] sees, as uint8 [height, width, 3] RGB with a mark."""
    picture = road_picture(xy_m, yaw_rad, min(_DRAWN_PX, height, width), seed=episode)
    return _marked(picture, height, width, step=step, camera=0, episode=episode, resize=ResizeMode.PLAIN)


def toy_jpeg(image: Image, *, quality: int = 95) -> bytes:
    """Encode a toy frame as a 4:2:0 JPEG, as in releases."""
    return bytes(simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420"))


def _marked(
    picture: Image, height: int, width: int, *, step: int, camera: int, episode: int, resize: ResizeMode
) -> Image:
    side = min(height, width)
    tall, wide = (height, width) if resize is ResizeMode.PLAIN else (side, side)
    scaled = cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_LINEAR)
    down, right = height - tall, width - wide
    edges = (down // 2, down - down // 2, right // 2, right - right // 2)
    image = np.asarray(cv2.copyMakeBorder(scaled, *edges, cv2.BORDER_REPLICATE), np.uint8)
    put_toy_mark(image, step=step, camera=camera, episode=episode, resize=resize)
    return image


def _camera(role: CameraRole, hands: Sequence[table.Hand]) -> Camera:
    if role in _WRISTS:
        return table.wrist_camera(hands[-1 if role is CameraRole.WRIST_LEFT else 0])
    return table.SIDE if role is CameraRole.SECONDARY else table.FRONT


def _places(num_arms: int) -> tuple[float, ...]:
    return (0.0,) * num_arms if num_arms < 2 else (-1.0, 1.0)


def _hand(arm: ToyArm, step: int, aside_m: Float64) -> table.Hand:
    row = min(step, len(arm.xyz_m) - 1)
    return table.Hand(
        xyz_m=arm.xyz_m[row] + _STAND_M + aside_m,
        finger_width_m=_OPEN_M * float(arm.gripper_open[row]),
        base_m=table.BASE_M + aside_m,
    )


def _human(step: int, episode: int) -> table.Hand:
    """Let a human hand wander and open and close in ways that its first frame does not tell."""
    rng = np.random.default_rng([episode, 5])
    phase, rate = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.6, 1.6, 4)
    wave = np.sin(rate * step / _HUMAN_HZ + phase)
    xyz_m = np.array([0.0, 0.0, table.TABLE_Z_M + 0.09]) + wave[:3] * np.array([0.12, 0.14, 0.06])
    return table.Hand(xyz_m=xyz_m, finger_width_m=_OPEN_M / 2 * (1 + float(wave[3])), base_m=_SHOULDER_M)


def _things(arms: Sequence[ToyArm], step: int, episode: int) -> list[Body]:
    """Lay out what lies there: two cubes, and for each arm the cube that it grasps, on a pillar."""
    rng = np.random.default_rng([episode, 3])
    colours = list(table.COLOURS.values())
    first = int(rng.integers(len(colours)))
    rest_m = table.TABLE_Z_M + table.CUBE_M / 2
    things: list[Body] = []
    for number, side in enumerate((-1, 1)):
        place_m = np.array([rng.uniform(-0.15, 0.12), side * rng.uniform(0.2, 0.3), rest_m])
        things.append(table.cube(place_m, colours[(first + number) % len(colours)]))
    for arm, place in zip(arms, _places(len(arms)), strict=True):
        things += _grasped(arm, step, place * _APART_M, colours[(first + 2) % len(colours)])
    return things


def _grasped(arm: ToyArm, step: int, aside_m: Float64, colour: tuple[int, int, int]) -> list[Body]:
    """Make the cube that an arm takes from a pillar when its gripper closes for the first time."""
    closings = np.flatnonzero(np.diff(arm.gripper_open) < 0)
    if not len(closings):
        return []
    taken, row = int(closings[0]) + 1, min(step, len(arm.xyz_m) - 1)
    stands_m = arm.xyz_m[taken] + _STAND_M + aside_m
    is_held = row >= taken and not np.any(np.diff(arm.gripper_open[taken : row + 1]) > 0)
    top_m = stands_m[2] - table.CUBE_M / 2
    pillar = Box(
        centre_m=np.array([*stands_m[:2], (table.TABLE_Z_M + top_m) / 2]),
        size_m=np.array([0.06, 0.06, top_m - table.TABLE_Z_M]),
        colour=_PILLAR,
    )
    return [pillar, table.cube(arm.xyz_m[row] + _STAND_M + aside_m if is_held else stands_m, colour)]
