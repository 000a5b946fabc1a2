"""Places of LIBERO's fixtures, such as cabinets: a reset draws them, and a flattened state does not contain them.

Source: LIBERO, bddl_base_domain.py: a reset sets `body_pos` and `body_quat` of each fixture's root body; its recorder
saves the model with these values.
"""

from typing import Any
from xml.etree import ElementTree

import numpy as np

from vita_data.errors import VitaDataError
from vita_data.types import Float64


def place_fixtures(environment: Any, model: str | None) -> None:
    """Put the fixtures of LIBERO's inner environment where a recorded model has them.

    Raises:
        VitaDataError: there are fixtures, but the recording has no model, or the model has no such body.
    """
    bodies = [str(fixture.root_body) for fixture in environment.fixtures_dict.values()]
    if not bodies:
        return
    if model is None:
        raise VitaDataError(
            f"expected the model of the recording (attribute model_file), which has the places of {', '.join(bodies)}"
        )
    places = _places(model)
    for body in bodies:
        if body not in places:
            raise VitaDataError(f"model_file: expected a body {body}; is this a recording of the same task?")
        number = environment.sim.model.body_name2id(body)
        environment.sim.model.body_pos[number], environment.sim.model.body_quat[number] = places[body]


def _places(model: str) -> dict[str, tuple[Float64, Float64]]:
    """Read position [3] and quaternion [4] (w first) of each named body; MuJoCo leaves out zeros and no rotation."""
    try:
        bodies = list(ElementTree.fromstring(model).iter("body"))
        return {
            str(body.get("name")): (_numbers(body.get("pos", "0 0 0"), 3), _numbers(body.get("quat", "1 0 0 0"), 4))
            for body in bodies
        }
    except (ElementTree.ParseError, ValueError) as fault:
        raise VitaDataError(f"model_file: expected MuJoCo's XML ({fault})") from fault


def _numbers(text: str, width: int) -> Float64:
    numbers = np.array(text.split(), np.float64)
    if numbers.shape != (width,):
        raise ValueError(f"expected {width} numbers, got {text!r}")
    return numbers
