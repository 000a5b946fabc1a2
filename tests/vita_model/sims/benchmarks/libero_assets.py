"""Assets for LIBERO's floor scene, generated: a few boxes, a basket of five walls, two plain textures.

LIBERO's own assets are on no package index. Its task descriptions, initial states, controller and success check
are, and they only need objects of these names.
"""

from pathlib import Path

import cv2
import numpy as np

HALF_SIZES_M = {
    "alphabet_soup": (0.024, 0.04, 0.024),
    "salad_dressing": (0.02, 0.05, 0.02),
    "cream_cheese": (0.03, 0.015, 0.02),
    "milk": (0.025, 0.05, 0.025),
    "tomato_sauce": (0.024, 0.04, 0.024),
    "butter": (0.03, 0.015, 0.02),
}
"""y is up: the stored initial states turn these objects upright by a quarter about x, but not the basket."""
_WALL_M, _INSIDE_M, _DEPTH_M = 0.005, 0.08, 0.04
_OBJECT = """<mujoco model="{name}"><asset/><worldbody><body><body name="object">{inner}</body>
<site rgba="0 0 0 0" size="0.005" pos="0 0 {bottom}" name="bottom_site"/>
<site rgba="0 0 0 0" size="0.005" pos="0 0 {top}" name="top_site"/>
<site rgba="0 0 0 0" size="0.005" pos="{radius} {radius} 0" name="horizontal_radius_site"/>
</body></worldbody></mujoco>"""
_FLOOR = """<mujoco model="floor"><asset>
<texture builtin="gradient" height="32" rgb1=".9 .9 1" rgb2=".2 .3 .4" type="skybox" width="32"/>
<texture file="../textures/light-gray-floor-tile.png" type="2d" name="texplane"/>
<material name="floorplane" texrepeat="2 2" texture="texplane" texuniform="true"/>
<texture file="../textures/light-gray-plaster.png" type="2d" name="tex-wall"/>
<material name="walls_mat" texrepeat="3 3" texture="tex-wall" texuniform="true"/>
</asset><worldbody>
<body name="floor" pos="0 0 0"><geom condim="3" group="1" material="floorplane" name="floor" size="3 3 .125"
 type="plane"/></body>
<geom pos="-2 0 1.5" quat="0.5 0.5 0.5 0.5" size="1.5 1.5 0.01" type="box" conaffinity="0" contype="0" group="1"
 name="wall_rear_visual" material="walls_mat"/>
<light pos="1 1 1.5" dir="-0.2 -0.2 -1" directional="true" castshadow="false"/>
</worldbody></mujoco>"""


def write_assets(folder: Path) -> Path:
    """Write the assets that `libero_object`'s first task needs."""
    for number, (name, half) in enumerate(HALF_SIZES_M.items()):
        colour = np.eye(3)[number % 3] * 0.6 + 0.05 * number + 0.1
        inner = _geoms([((0, 0, 0), half)], colour)
        _write_object(folder / "stable_hope_objects" / name, name, inner, half[1], max(half[0], half[2]))
    _write_object(folder / "stable_scanned_objects" / "basket", "basket", _basket(), _DEPTH_M, _INSIDE_M)
    (folder / "scenes").mkdir()
    (folder / "scenes" / "libero_floor_base_style.xml").write_text(_FLOOR)
    (folder / "textures").mkdir()
    for name, grey in (("light-gray-floor-tile", 170), ("light-gray-plaster", 210)):
        cv2.imwrite(str(folder / "textures" / f"{name}.png"), np.full((8, 8, 3), grey, np.uint8))
    return folder


def _write_object(folder: Path, name: str, inner: str, half_height: float, radius: float) -> None:
    folder.mkdir(parents=True)
    text = _OBJECT.format(name=name, inner=inner, bottom=-half_height, top=half_height, radius=radius)
    (folder / f"{name}.xml").write_text(text)


def _basket() -> str:
    side = _INSIDE_M + _WALL_M
    walls = [((0, 0, -_DEPTH_M + _WALL_M), (_INSIDE_M, _INSIDE_M, _WALL_M))]
    walls += [((sign * side, 0, 0), (_WALL_M, _INSIDE_M, _DEPTH_M)) for sign in (-1, 1)]
    walls += [((0, sign * side, 0), (_INSIDE_M, _WALL_M, _DEPTH_M)) for sign in (-1, 1)]
    region = f"{_INSIDE_M} {_INSIDE_M} {_DEPTH_M + 0.02}"
    site = f'<site name="contain_region" type="box" pos="0 0 0" quat="1 0 0 0" size="{region}" rgba="0 0 1 0"/>'
    return _geoms(walls, np.array([0.6, 0.4, 0.2])) + site


def _geoms(boxes: list[tuple[tuple[float, ...], tuple[float, ...]]], colour: np.ndarray) -> str:
    rgba = " ".join(f"{value:.2f}" for value in [*colour, 1])
    return "".join(
        f'<geom type="box" pos="{" ".join(map(str, place))}" size="{" ".join(map(str, half))}" rgba="{rgba}"'
        ' group="0" density="100" friction="2 0.3 0.1" condim="4"/>'
        for place, half in boxes
    )
