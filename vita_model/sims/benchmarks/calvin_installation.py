"""CALVIN's objects from the user's clones: environment, task oracle, sentences and chains.

Source: mees/calvin with calvin_env, whose `get_env` reads the configuration that lies beside a dataset. Without a
dataset, environment D is composed from the configuration in the clone; the blocks' start poses come from each chain.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from vita_data.errors import RequestError
from vita_data.installation import install_extra
from vita_model.sims.benchmarks.calvin_sequences import Chain, chains
from vita_model.sims.benchmarks.calvin_stand_ins import stand_ins
from vita_model.sims.benchmarks.calvin_table import CalvinTable
from vita_model.sims.benchmarks.guard import guarded, run_python
from vita_model.sims.benchmarks.offline_import import load, package_folder, require_package, require_path
from vita_model.sims.benchmarks.versions import clone_commit, package_versions

NAME = "CALVIN"
_CLONES = (
    "clone mees/calvin with its submodule calvin_env, put calvin/calvin_models and calvin/calvin_env on PYTHONPATH"
)
_SCENE = "calvin_scene_D_eval"
_SCENES = tuple(f"calvin_scene_{letter}" for letter in "ABCD")
"""Those of the datasets; they differ in the places of what is fixed, and in colours."""
_CAMERAS = ("static", "gripper")
_ORACLE = "callbacks/rollout/tasks/new_playtable_tasks.yaml"
_SENTENCES = "annotations/new_playtable_validation.yaml"
_SEED = 0
_RENDER_WITH_EGL = """
import importlib.util, pybullet
client = pybullet.connect(pybullet.DIRECT)
found = importlib.util.find_spec("eglRenderer")
plugin = pybullet.loadPlugin(*([found.origin, "_eglRendererPlugin"] if found else ["eglRendererPlugin"]))
assert plugin >= 0, "pybullet cannot load its EGL plugin"
pybullet.getCameraImage(8, 8)
"""


def remedy() -> str:
    """Say how CALVIN is installed."""
    return f"{_CLONES}, and {install_extra('calvin')}"


class Renderer(StrEnum):
    """Renderer of pybullet; their images differ by 21 grey levels in the mean."""

    EGL = "egl"
    """OpenGL, with which CALVIN's datasets were rendered."""
    TINY = "tiny"
    """On the CPU, without any driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalvinParts:
    """Objects from the user's installation."""

    table: CalvinTable
    oracle: Any
    sentences: Mapping[str, Sequence[str]]
    """Sentences of each task; the first one is used."""
    place: Callable[[Any], tuple[Any, Any]]
    """Converts an initial condition to robot and scene observations."""
    chains: Sequence[Chain]


def check_installation(dataset: Path | None) -> Path:
    """Check the packages, their configuration and the dataset; returns the folder of the configuration.

    Raises:
        RequestError: one of them is missing; the message says where it was expected.
    """
    agent = require_package("calvin_agent", benchmark=NAME, remedy=remedy())
    environments = require_package("calvin_env", benchmark=NAME, remedy=remedy())
    if dataset is None:
        description, advice = _clone_configuration(environments), f"{remedy()}, or give --dataset"
    else:
        description = _dataset_configuration(dataset)
        advice = "set --dataset to the folder that contains training and validation, or leave it out"
    require_path(description, benchmark=NAME, what="description of environment D", remedy=advice)
    configuration = agent.parent / "conf"
    for file in (_ORACLE, _SENTENCES):
        require_path(configuration / file, benchmark=NAME, what="configuration", remedy=remedy())
    return configuration


def scene_name(dataset: Path | None) -> str:
    """Say for the result where the description of environment D comes from."""
    return "the dataset's" if dataset is not None else f"{_SCENE}, composed from the clone without a dataset"


def versions() -> dict[str, str]:
    """Versions for the result: commits of the clones, and packages."""
    clones = {name: package_folder(name) for name in ("calvin_agent", "calvin_env")}
    commits = {name: clone_commit(folder) for name, folder in clones.items() if folder is not None}
    return commits | package_versions("pybullet", "numpy")


def make_parts(dataset: Path | None, renderer: Renderer, report: Callable[[str], None]) -> CalvinParts:
    """Import CALVIN and build its environment.

    Raises:
        RequestError: something is missing, or fails; the message names it and what to do.
    """
    configuration = check_installation(dataset)
    agent = configuration.parent / "calvin_agent"
    if renderer is Renderer.EGL:
        run_python(
            _RENDER_WITH_EGL, benchmark=NAME, what="rendering with EGL",
            remedy="install a driver (apt-get install libegl1 libegl-mesa0), or use --renderer tiny",
        )  # fmt: skip
    drawn = chains(agent, report, benchmark=NAME, remedy=remedy())
    random.seed(_SEED)
    np.random.seed(_SEED)  # noqa: NPY002 - the protocol seeds the global generator
    with guarded(NAME, what=f"importing {agent.parent} and building environment D", remedy=remedy()):
        with stand_ins():
            tools = _load("calvin_agent.evaluation.utils")
        return CalvinParts(
            table=CalvinTable(_environment(_described(dataset), renderer)),
            oracle=_oracle(configuration),
            sentences=_load("omegaconf").OmegaConf.load(configuration / _SENTENCES),
            place=tools.get_env_state_for_initial_condition,
            chains=drawn,
        )


def open_scene(scene: str) -> tuple[CalvinTable, Any]:
    """Import CALVIN and build one of its scenes from the clone, for replays, which render nothing.

    Returns:
        The scene and the task oracle.

    Raises:
        RequestError: the scene is unknown, or something is missing or fails; the message names it and what to do.
    """
    configuration = check_installation(None)
    if scene not in _SCENES:
        raise RequestError(f"{NAME}: expected a scene of {', '.join(_SCENES)}, got {scene!r}")
    with guarded(NAME, what=f"importing {configuration.parent} and building {scene}", remedy=remedy()):
        return CalvinTable(_environment(_composed(scene), Renderer.TINY)), _oracle(configuration)


def _oracle(configuration: Path) -> Any:
    return _load("hydra").utils.instantiate(_load("omegaconf").OmegaConf.load(configuration / _ORACLE))


def _described(dataset: Path | None) -> Any:
    """Describe environment D as the dataset does, or as the clone."""
    if dataset is None:
        return _composed(_SCENE)
    return _load("omegaconf").OmegaConf.load(_dataset_configuration(dataset))


def _environment(description: Any, renderer: Renderer) -> Any:
    """Build an environment as `calvin_env.envs.play_table_env.get_env` does, with a chosen renderer."""
    tables, hydra = _load("calvin_env.envs.play_table_env"), _load("hydra")
    vars(tables)["get_git_commit_hash"] = lambda path: "n/a"  # the real one fails outside a clone
    vars(tables)["print"] = _ignore  # it prints when it is closed and again when it is collected
    for name in set(description.cameras) - set(_CAMERAS):  # tactile cameras need another package
        del description.cameras[name]
    description.env.use_egl = renderer is Renderer.EGL
    return hydra.utils.instantiate(description.env, show_gui=False, use_vr=False, use_scene_info=True)


def _composed(scene: str) -> Any:
    """Compose a scene from the clone."""
    hydra = _load("hydra")
    folder = package_folder("calvin_env")
    if folder is None:
        raise RequestError(f"{NAME}: package 'calvin_env' is gone; {remedy()}")
    configuration = _clone_configuration(folder)
    with hydra.initialize_config_dir(str(configuration.parent.resolve()), version_base=None):
        chosen = ["cameras=static_and_gripper", f"scene={scene}", "use_vr=false", f"data_path={folder.parent}/data"]
        return hydra.compose(configuration.stem, overrides=chosen)


def _clone_configuration(environments: Path) -> Path:
    return environments.parent / "conf" / "config_data_collection.yaml"


def _dataset_configuration(dataset: Path) -> Path:
    return dataset / "validation" / ".hydra" / "merged_config.yaml"


def _load(module: str) -> Any:
    return load(module, benchmark=NAME, remedy=remedy())


def _ignore(*_: object) -> None:
    """Print nothing."""
