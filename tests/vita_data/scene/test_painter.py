"""Bodies are painted where a pinhole camera sees them, the near ones over the far ones."""

import math

import numpy as np

from vita_data.scene.camera import Camera
from vita_data.scene.painter import Box, Painter

RED, BLUE = (255, 0, 0), (0, 0, 255)
UP = np.array([0.0, 0.0, 1.0])


def camera() -> Camera:
    """Look along +x from the origin, with a field of 90 degrees."""
    return Camera.looking_at(np.array([1.0, 0.0, 0.0]), position_m=np.zeros(3), field_rad=math.pi / 2, up=UP)


def box(*centre_m: float, colour: tuple[int, int, int], size_m: float = 0.2) -> Box:
    """Make a cube."""
    return Box(centre_m=np.array(centre_m), size_m=np.full(3, size_m), colour=colour)


def test_a_camera_projects_left_to_the_left_and_up_to_the_top() -> None:
    points = np.array([[2.0, 0.0, 0.0], [2.0, 2.0, 0.0], [2.0, 0.0, 2.0]])
    np.testing.assert_allclose(camera().project(points), [[0.5, 0.5], [0.0, 0.5], [0.5, 0.0]], atol=1e-12)
    np.testing.assert_allclose(camera().depths_m(points), 2.0)


def test_the_near_box_hides_the_far_one_in_any_order() -> None:
    near, far = box(2.0, 0.0, 0.0, colour=RED), box(4.0, 0.0, 0.0, colour=BLUE, size_m=1.2)
    for bodies in ([near, far], [far, near]):
        painter = Painter(camera(), 64)
        painter.bodies(bodies)
        picture = painter.picture()
        assert picture[32, 32, 0] > 100 > picture[32, 32, 2]
        assert picture[32, 28, 2] > 100 > picture[32, 28, 0]


def test_a_shadow_lies_under_its_box_only() -> None:
    above = Camera.looking_at(
        np.zeros(3), position_m=np.array([0.0, 0.0, 3.0]), field_rad=1.0, up=np.array([1.0, 0.0, 0.0])
    )
    painter = Painter(above, 64)
    painter.background((200, 200, 200), (200, 200, 200))
    painter.shadows([box(0.0, 0.0, 0.1, colour=RED)], 0.0)
    picture = painter.picture()
    assert picture[32, 32].max() < 140
    assert picture[4, 4].min() == 200
