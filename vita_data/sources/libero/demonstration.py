"""A demonstration of LIBERO's recorder with the simulator's state before it, to execute it again.

Source: LIBERO, scripts/create_dataset.py: `states[t]` is the simulator before action t, `model_file` its model, in
which the fixtures have their places. Recordings of `vita-eval robosuite record` have a seed instead.
"""

import h5py
import numpy as np

from vita_data.errors import EpisodeError, RequestError
from vita_data.formats.hdf5.inside import read_attribute
from vita_data.formats.hdf5.opener import (
    find_dataset,
    find_group,
    find_node,
    json_attribute,
    open_hdf5,
    read_floats,
    text_attribute,
)
from vita_data.sources.libero.release import ROWS_TO_ACTION, Release
from vita_data.stored_actions import rows_of
from vita_data.types import Clip, Demonstration, Float64, Json, RawTree


def read_demonstration(raw: RawTree, clip: Clip) -> Demonstration:
    """Read the rows from the one whose command follows the clip's first observation.

    Its `world` has suite and task, and if the file has them, `env_name`, `seed` and `model_file`.

    Raises:
        RequestError: the release does not store the states of the simulator.
        SourceError, EpisodeError: the file or the demonstration cannot be read.
    """
    name = str(clip.provenance["file"])
    if clip.release != Release.OFFICIAL or not name.endswith(".hdf5"):
        raise RequestError(
            f"{clip.episode}: expected a recording of LIBERO (--set release={Release.OFFICIAL}), which has the states "
            f"of its simulator; release {clip.release} has not"
        )
    with open_hdf5(raw.local_path(name), name=name) as file:
        demo = find_group(file, f"data/{clip.provenance['record']}", name=name)
        return _read(demo, clip, _world(file, demo, clip, name), name)


def _read(demo: h5py.Group, clip: Clip, world: Json, name: str) -> Demonstration:
    paired = clip.step_index + ROWS_TO_ACTION[Release.OFFICIAL]
    actions = read_floats(demo, "actions", width=7, name=name)
    rows_of(actions, paired, name=name)
    executed = actions
    if find_node(demo, "executed_actions", name=name) is not None:
        executed = read_floats(demo, "executed_actions", width=7, name=name)
    first = int(paired[0])
    return Demonstration(
        rows=paired - first,
        commands=actions[first:],
        executed=executed[first:],
        end_m=read_floats(demo, "obs/ee_pos", width=3, name=name)[-1],
        success=bool(read_floats(demo, "dones", width=1, name=name)[-1, 0]),
        state=_state(demo, first, name),
        world=world,
    )


def _state(demo: h5py.Group, row: int, name: str) -> Float64:
    found = find_dataset(demo, "states", name=name)
    if found.ndim != 2 or len(found) <= row:
        raise EpisodeError(f"{name}: {found.name} has shape {found.shape}, expected a state in row {row}")
    return np.asarray(found[row], np.float64)


def _world(file: h5py.File, demo: h5py.Group, clip: Clip, name: str) -> Json:
    arguments = json_attribute(file["data"], "env_args", name=name) or {}
    seed = read_attribute(demo, "seed")
    found = {
        "env_name": arguments.get("env_name"),
        "seed": int(seed) if isinstance(seed, int | np.integer) else None,
        "model_file": text_attribute(demo, "model_file", name=name),
    }
    known = {key: value for key, value in found.items() if value is not None}
    return {"suite": clip.provenance["suite"], "task": clip.provenance["task"], **known}
