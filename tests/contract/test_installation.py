"""The package and each extra, installed in a venv of its own: every command answers and does one real thing.

`VITA_PYTHON=python3.13 pytest -m slow tests/contract/test_installation.py` takes another Python than this one.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.object_store import files_below, running_store
from tests.vita_data.sources.test_from_file import MY_ARM
from vita_data.cli.main import main

ROOT = Path(__file__).parents[2]
VERBS = "build status probe toy sources new-source mix stats verify episodes merge inspect report view export push"
HELPS = (
    "vita-data",
    *(f"vita-data {verb}" for verb in VERBS.split()),
    *("vita-train", "vita-train params", "vita-train export", "vita-train preview", "vita-serve"),
    *("vita-eval", "vita-eval robosuite record", "vita-eval robosuite evaluate", "vita-eval libero"),
    *("vita-eval calvin", "vita-eval simplerenv", "vita-eval table", "vita-eval trials"),
    *("python -m vita_data", "python -m vita_model", "python -m vita_model serve"),
)


@dataclass(frozen=True, slots=True)
class Venv:
    """A venv with the wheel, and an empty folder to work in."""

    folder: Path
    wheel: Path

    @property
    def work(self) -> Path:
        return self.folder.parent / "work"

    def run(self, command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the empty folder, as a user of this venv alone."""
        program, *words = command.split()
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return subprocess.run(
            [str(self.folder / "bin" / program), *words], cwd=self.work, env=kept | environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    def does(self, command: str, **environment: str) -> str:
        """Run a command that must succeed; gives its output."""
        done = self.run(command, **environment)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
        return done.stdout

    def lacks(self, command: str, extra: str) -> None:
        """Run a command that must name, in one line, a missing extra and what installs it."""
        done = self.run(command)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), f"{command}\n{done.stderr[-3000:]}"
        assert f"pip install 'vita-vla[{extra}] @ {self.wheel.as_uri()}'" in done.stderr

    def install(self, *words: str) -> None:
        subprocess.run([self.folder / "bin" / "pip", "install", "--quiet", *words], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves folders beside its sources."""
    source = tmp_path_factory.mktemp("source")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(source / "dist")]
    subprocess.run([*pip, str(source)], check=True)
    (made,) = (source / "dist").glob("*.whl")
    return made


def act_plain(venv: Venv) -> None:
    """Without an extra: everything about data, and one line for what needs more."""
    build_toy(venv)
    assert "bridge" in venv.does("vita-data mix toy --shards shards")
    venv.does("vita-data inspect shards/bridge --html page.html")
    venv.does("vita-data report shards --manifest toy --html report.html")
    venv.does("vita-data view shards --raw raw --html view")
    venv.does("vita-data export shards/libero --format lerobot --out exported")
    venv.lacks("vita-data push exported someone/something", "train")
    venv.lacks("vita-train debug_warmup --shards shards --out run", "train")
    venv.lacks("vita-train params cotrain", "train")
    venv.lacks("vita-eval robosuite evaluate --task lift --policy ws://127.0.0.1:9 --out out", "serve")
    venv.lacks("vita-eval robosuite record --task lift --out out", "robosuite")
    venv.lacks("vita-data build --source bridge --raw raw/bridge --out other --engine ray", "ray")
    venv.lacks("vita-data verify s3://bucket/bridge", "s3")
    for info in venv.work.glob("raw/bridge/*/*/dataset_info.json"):
        info.write_text(info.read_text().replace('"tfrecord"', '"array_record"'))
    venv.lacks("vita-data build --source bridge --raw raw/bridge --out other", "arrayrecord")
    copy_urdf_arm(venv)
    venv.lacks("vita-data toy --source-file urdf_arm.py --raw raw", "urdf")


def build_toy(venv: Venv) -> None:
    for name in ("bridge", "ssv2", "libero"):
        venv.does(f"vita-data toy --source {name} --raw raw")
        venv.does(f"vita-data build --source {name} --raw raw/{name} --out shards --frames all")
    venv.does("vita-data verify shards/bridge")


def copy_urdf_arm(venv: Venv) -> None:
    for path in (ROOT / "tests" / "vita_data" / "declared").glob("urdf_arm.*"):
        shutil.copy(path, venv.work)


def act_urdf(venv: Venv) -> None:
    copy_urdf_arm(venv)
    venv.does("vita-data toy --source-file urdf_arm.py --raw raw")
    venv.does("vita-data build --source-file urdf_arm.py --raw raw/small_arm --out shards")
    venv.does("vita-data verify shards/small_arm")


def act_s3(venv: Venv) -> None:
    venv.does("vita-data toy --source bridge --raw raw")
    with running_store() as store:
        address = f"{store.make_bucket()}/shards"
        venv.does(f"vita-data build --source bridge --raw raw/bridge --out {address}")
        said = venv.does(f"vita-data verify {address}/bridge")
    assert "0 problems" in said


def act_ray(venv: Venv) -> None:
    venv.does("vita-data toy --source bridge --raw raw")
    venv.does("vita-data build --source bridge --raw raw/bridge --out shards --engine ray --workers 1")


def act_array_record(venv: Venv) -> None:
    """The declared RLDS set of the sources' README, its toy in ArrayRecord files."""
    page = (ROOT / "vita_data" / "sources" / "README.md").read_text(encoding="utf-8")
    (venv.work / "my_rlds.py").write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[2])
    (venv.work / "toy.py").write_text(
        "from my_rlds import SOURCE\nfrom vita_data.formats.rlds.files import FileFormat\n"
        "SOURCE.write_toy('raw', file_format=FileFormat.ARRAY_RECORD)\n"
    )
    venv.does("python toy.py")
    venv.does("vita-data build --source-file my_rlds.py --raw raw --out shards")
    venv.does("vita-data verify shards/my_rlds")


def train_toy(venv: Venv) -> None:
    build_toy(venv)
    short = "--shards shards --set eval_batches=1"
    venv.does(f"vita-train debug_warmup --out runs/warmup {short} --steps 20")  # as many as fill the codes
    venv.does(f"vita-train debug_cotrain --out runs/cotrain {short} --steps 2 --set init=runs/warmup")


def act_train(venv: Venv) -> None:
    train_toy(venv)
    venv.does("vita-train export runs/cotrain exported --imagine")
    venv.does("vita-train preview runs/cotrain --shards shards --source bridge --out preview.jpg")
    venv.does("vita-data report shards --run runs/cotrain --html report.html")
    venv.lacks("vita-serve runs/cotrain", "serve")


def act_serve(venv: Venv) -> None:
    """A server needs both extras; what asks one needs this alone."""
    done = venv.run("vita-eval robosuite evaluate --task lift --policy ws://127.0.0.1:9 --out out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr[-3000:]


def act_train_and_serve(venv: Venv) -> None:
    train_toy(venv)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [venv.folder / "bin" / "vita-serve", "runs/cotrain", "--port", str(port)]
    with subprocess.Popen(command, cwd=venv.work, stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
                        assert answer.read() == b"OK\n"
                        break
                except OSError:
                    time.sleep(0.2)
            else:
                pytest.fail("the server does not answer")
        finally:
            server.terminate()


def act_timm(venv: Venv) -> None:
    """Its names are known; no weights are at hand."""
    code = "import vita_model, timm; print(len(timm.list_models('*dinov2*')))"
    (venv.work / "code.py").write_text(code)
    assert int(venv.does("python code.py")) > 3


def act_robosuite(venv: Venv) -> None:
    venv.install("--no-deps", "robosuite==1.4.0")
    done = venv.run("vita-eval robosuite record --task lift --out raw --num-demos 1", MUJOCO_GL="egl")
    assert done.returncode == 0, done.stderr[-3000:]
    venv.does("vita-data build --source libero --raw raw --out shards")


def act_calvin(venv: Venv) -> None:
    (venv.work / "imports.py").write_text(
        "import git, gym, hydra, hydra_plugins.hydra_colorlog, pybullet, quaternion\n"
    )
    venv.does("python -W ignore imports.py")
    done = venv.run("vita-eval calvin --policy random --out out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr[-3000:]
    assert "CALVIN: package 'calvin_agent' not found in " in done.stderr


def act_ur5e(venv: Venv) -> None:
    code = (
        "from vita_data.errors import VitaDataError\nfrom vita_model.robot.ur5e import Ur5e\n"
        "try:\n    Ur5e('127.0.0.1', None)\nexcept VitaDataError as fault:\n    print(fault)\n"
    )
    (venv.work / "code.py").write_text(code)
    assert "no UR robot answers" in venv.does("python code.py")


def act_dev(venv: Venv) -> None:
    venv.does(f"pytest -q -p no:cacheprovider {ROOT}/tests/vita_data/test_geometry.py")


ACTIONS: dict[str, Callable[[Venv], None]] = {
    "": act_plain,
    "s3": act_s3,
    "ray": act_ray,
    "arrayrecord": act_array_record,
    "urdf": act_urdf,
    "serve": act_serve,
    "train": act_train,
    "train,serve": act_train_and_serve,
    "train,timm": act_timm,
    "robosuite": act_robosuite,
    "calvin": act_calvin,
    "ur5e": act_ur5e,
    "train,dev": act_dev,
}


@pytest.mark.slow
@pytest.mark.parametrize("extra", ACTIONS, ids=lambda extra: extra or "plain")
def test_an_installation_does_what_it_can_and_names_what_it_lacks(extra: str, wheel: Path, tmp_path: Path) -> None:
    python = os.environ.get("VITA_PYTHON", sys.executable)
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    venv = Venv(tmp_path / "venv", wheel)
    venv.work.mkdir()
    venv.install(f"vita-vla[{extra}] @ {wheel.as_uri()}" if extra else str(wheel))
    for command in HELPS:
        assert venv.does(f"{command} --help").startswith("usage: ")
    ACTIONS[extra](venv)


OWN_PACKAGE = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "lab-arm"
version = "1.0"
[project.entry-points."vita.sources"]
my_arm = "lab_arm"
[tool.setuptools]
py-modules = ["lab_arm"]
"""


@pytest.mark.slow
def test_a_source_in_a_package_of_its_own_builds_the_bytes_of_its_file(wheel: Path, tmp_path: Path) -> None:
    """VITA and the package are installed by pip in a fresh venv; this checkout builds the file by `--source-file`."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(OWN_PACKAGE)
    (project / "lab_arm.py").write_text(MY_ARM)
    venv = Venv(tmp_path / "venv", wheel)
    venv.work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", venv.folder], check=True)
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    pins = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    (tmp_path / "pins.txt").write_text(pins)  # the bytes depend on the versions of the libraries
    venv.install("-c", str(tmp_path / "pins.txt"), str(wheel), str(project))

    venv.does("vita-data toy --source my_arm --raw raw")
    venv.does("vita-data build --source my_arm --raw raw/my_arm --out installed")
    raw, own = str(venv.work / "raw/my_arm"), str(venv.work / "own")
    assert main(["build", "--source-file", str(project / "lab_arm.py"), "--raw", raw, "--out", own]) == 0
    installed, in_tree = files_below(venv.work / "installed"), files_below(venv.work / "own")

    assert "my_arm/dataset.json" in installed
    for found in (installed, in_tree):
        found.pop("my_arm/.build/lock", None)
    assert installed == in_tree


def test_every_extra_is_installed_by_the_slow_test() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    table = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    assert set(re.findall(r"^(\w+) = \[", table, re.MULTILINE)) == {
        name for extras in ACTIONS for name in extras.split(",") if name
    }
