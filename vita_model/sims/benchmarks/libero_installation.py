"""LIBERO's suites from the user's installation: tasks, initial states, environments.

Source: hf-libero 0.1.4. Its first import asks for folders unless it finds a `config.yaml`, and it reads the stored
initial states as pickles; both are avoided here.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vita_data.errors import RequestError
from vita_data.installation import install_extra
from vita_data.types import Float64
from vita_model.sims.benchmarks.guard import guarded, run_python
from vita_model.sims.benchmarks.mujoco_cameras import PROBE
from vita_model.sims.benchmarks.offline_import import load, require_package, require_path
from vita_model.sims.benchmarks.versions import package_versions

NAME = "LIBERO"
INSTALL = "install it as its authors describe (hf-libero 0.1.4, robosuite 1.4.0 and mujoco<3.9 work together)"
_CONFIG = "LIBERO_CONFIG_PATH"


def check_installation(assets: Path | None) -> Path:
    """Check package and assets before importing LIBERO, which downloads missing assets; returns the package's folder.

    Raises:
        RequestError: one of them is missing; the message says where it was expected.
    """
    folder = require_package("libero", benchmark=NAME, remedy=INSTALL) / "libero"
    require_path(
        assets or folder / "assets",
        benchmark=NAME,
        what="assets",
        remedy="put them there, or set --assets to their folder; vita-eval downloads nothing",
    )
    return folder


def renderer() -> str:
    """Name MuJoCo's renderer, which `MUJOCO_GL` chooses."""
    return os.environ.setdefault("MUJOCO_GL", "egl")


def versions() -> dict[str, str]:
    """Versions for the result."""
    return package_versions("libero", "robosuite", "mujoco", "bddl", "numpy")


class LiberoSuite:
    """The tasks of one suite."""

    def __init__(self, name: str, assets: Path | None, image_size: int) -> None:
        """Import LIBERO.

        Args:
            name: such as `libero_goal`.
            assets: folder of the assets; None: inside the installed package.
            image_size: pixels of rendered images.

        Raises:
            RequestError: something is missing, or fails; the message names it and what to do.
        """
        self._folder, self._image_size = check_installation(assets), image_size
        os.environ.setdefault("PYOPENGL_PLATFORM", renderer())
        run_python(
            PROBE, benchmark=NAME, what=f"rendering with MUJOCO_GL={renderer()}",
            remedy="install libegl1 and libegl-mesa0, or libosmesa6 and set MUJOCO_GL=osmesa",
        )  # fmt: skip
        with guarded(NAME, what=f"importing {self._folder}", remedy=INSTALL), _configuration(self._folder):
            root = _load("libero.libero")
            if assets is not None:
                root._assets_path_cache = str(assets.resolve())
            self._suite = _load("libero.libero.benchmark").get_benchmark_dict()[name]()
            self._environments = _load("libero.libero.envs")

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return int(self._suite.n_tasks)

    def task_name(self, number: int) -> str:
        """Give the name of a task."""
        return str(self._suite.get_task(number).name)

    def instruction(self, number: int) -> str:
        """Give the instruction of a task."""
        return str(self._suite.get_task(number).language)

    def initial_states(self, number: int) -> Float64:
        """Read the stored initial states [N, D] of a task.

        Raises:
            RequestError: the file is missing, or contains something else than an array.
        """
        task = self._suite.get_task(number)
        file = self._folder / "init_files" / task.problem_folder / task.init_states_file
        return read_states(require_path(file, benchmark=NAME, what="initial states", remedy=INSTALL))

    def environment(self, number: int) -> Any:
        """Build the environment of a task.

        Raises:
            RequestError: it cannot be built.
        """
        task = self._suite.get_task(number)
        description = self._folder / "bddl_files" / task.problem_folder / task.bddl_file
        require_path(description, benchmark=NAME, what="task description", remedy=INSTALL)
        with guarded(NAME, what=f"building {description.stem}", remedy=f"{INSTALL}, and check its assets"):
            return self._environments.OffScreenRenderEnv(
                bddl_file_name=str(description), camera_heights=self._image_size, camera_widths=self._image_size
            )


def read_states(file: Path) -> Float64:
    """Read a `.pruned_init` file [N, D] without executing what a pickle may contain.

    Raises:
        RequestError: it holds something else than an array of numbers.
    """
    torch: Any = load("torch", benchmark=NAME, remedy=install_extra("train"))
    rebuild = np.zeros(0).__reduce__()[0]
    # files name the function by its place in the numpy that wrote them
    names = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    allowed = [*names, np.ndarray, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32))]
    with guarded(NAME, what=f"reading {file}", remedy=INSTALL), torch.serialization.safe_globals(allowed):
        states = np.asarray(torch.load(file, weights_only=True), np.float64)
    if states.ndim != 2:
        raise RequestError(f"{NAME}: {file}: expected initial states [N, D], got shape {states.shape}; {INSTALL}")
    return states


@contextmanager
def _configuration(folder: Path) -> Iterator[None]:
    """Show LIBERO a configuration with the package's own folders while it is imported."""
    folders = {"bddl_files": "bddl_files", "init_states": "init_files", "datasets": "datasets", "assets": "assets"}
    content = {key: str(folder / name) for key, name in folders.items()} | {"benchmark_root": str(folder)}
    before = os.environ.get(_CONFIG)
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "config.yaml").write_text(json.dumps(content))  # JSON is YAML
        os.environ[_CONFIG] = home
        try:
            yield
        finally:
            del os.environ[_CONFIG]
            if before is not None:
                os.environ[_CONFIG] = before


def _load(module: str) -> Any:
    return load(module, benchmark=NAME, remedy=INSTALL)
