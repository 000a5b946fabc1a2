"""Render robosuite's cameras on request, with the pixels that its own observations would have had.

robosuite renders every camera once in each step, which takes most of its time, and not at the end of the step: when
depends on the observables' clocks. So the places of everything visible are copied where it would have rendered, and
are put back for the time of a rendering.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vita_data.types import Image

PROBE = """
import mujoco
context = mujoco.GLContext(64, 64)
context.make_current()
context.free()
"""
"""A program that fails, or is ended by C code, where MuJoCo cannot render."""
_PLACES = (
    "geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir", "xpos",
    "xmat", "xipos", "ximat",
)  # fmt: skip
_COLOURS = ("geom_rgba", "site_rgba", "mat_rgba")
_Snapshot = Mapping[str, np.ndarray[Any, Any]]


class CamerasOnRequest:
    """Cameras of one robosuite environment."""

    def __init__(self, environment: Any, names: Iterable[str]) -> None:
        """Prepare the cameras of observables such as `agentview_image`; `install` replaces their sensors."""
        self._environment, self._names = environment, tuple(names)
        self._sensors: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self._replaced: dict[str, Any] = {}
        self._seen: _Snapshot = {}

    def install(self) -> None:
        """Replace the cameras' sensors; needed again after each reset, which makes new ones."""
        for name in self._names:
            observable = self._environment._observables[name]
            if observable._sensor is not self._replaced.get(name):
                self._sensors[name] = observable._sensor
                observable._sensor = self._replaced[name] = self._replacement(observable._sensor)

    def render(self, name: str) -> Image:
        """Render a camera as its observable would have done when it was last updated."""
        after = self._snapshot()
        self._place(self._seen)
        try:
            return np.array(self._sensors[name]({}), np.uint8)
        finally:
            self._place(after)

    def _replacement(self, sensor: Any) -> Any:
        blank = np.zeros((1, 1, 3), np.uint8)

        def look(cache: object) -> Image:
            self._seen = self._snapshot()
            return blank

        vars(look).update(vars(sensor))  # robosuite's marks
        return look

    def _snapshot(self) -> _Snapshot:
        return {name: array.copy() for name, array in self._arrays().items()}

    def _place(self, snapshot: _Snapshot) -> None:
        for name, array in self._arrays().items():
            array[:] = snapshot[name]

    def _arrays(self) -> _Snapshot:
        data, model = self._environment.sim.data._data, self._environment.sim.model._model
        found = {name: getattr(data, name) for name in _PLACES}
        return found | {name: getattr(model, name) for name in _COLOURS}
