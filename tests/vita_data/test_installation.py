"""Manifests are found in a checkout and in an installed package; extras are installed from its origin."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vita_data import installation
from vita_data.errors import ManifestError
from vita_data.installation import MANIFESTS, install_extra
from vita_data.manifest import as_manifest, load_manifest
from vita_data.types import Basis

ROOT = Path(__file__).parents[2]


class Noted:
    """A distribution that pip has noted an origin for."""

    def __init__(self, origin: object) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        return None if self.origin is None else json.dumps(self.origin)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like site-packages, with one manifest."""
    (tmp_path / "vita_data" / "_manifests").mkdir(parents=True)
    (tmp_path / "vita_data" / "_manifests" / "toy.toml").write_text((ROOT / "manifests" / "toy.toml").read_text())
    monkeypatch.setattr(installation, "_PACKAGES", tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path


def test_a_checkout_has_its_manifests_where_people_read_them() -> None:
    assert MANIFESTS.folder == ROOT / "manifests"
    assert {"toy", "pretrain"} <= set(MANIFESTS.names())


@pytest.mark.parametrize("text", ["toy", "toy.toml", "manifests/toy.toml"])
def test_an_installed_manifest_is_found_from_an_empty_folder(text: str, installed: Path) -> None:
    found = load_manifest(text)
    assert (found.name, found.path) == ("toy", str(installed / "vita_data" / "_manifests" / "toy.toml"))
    assert MANIFESTS.names() == ["toy"]


def test_a_file_precedes_a_name_and_a_folder_does_not(installed: Path) -> None:
    Path("toy").mkdir()
    assert load_manifest("toy").path.startswith(str(installed / "vita_data"))
    Path("toy").rmdir()
    Path("toy").write_text((ROOT / "manifests" / "lift.toml").read_text())
    assert load_manifest("toy").name == "lift"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("toi", r"did you mean 'toy'\?"),
        ("other", "manifests that come with VITA: toy$"),
        ("manifests/other.toml", "manifests that come with VITA: toy$"),
        ("mine/other.toml", "the file does not exist$"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(text: str, told: str, installed: Path) -> None:
    with pytest.raises(ManifestError, match=told):
        load_manifest(text)


def test_in_python_a_name_is_a_manifest_of_the_package_or_a_source() -> None:
    assert as_manifest("toy").name == "toy"
    source = as_manifest("bridge")
    assert [(entry.source, entry.weight) for entry in source.entries] == [("bridge", 1.0)]
    assert source.basis is Basis.WINDOWS


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ({"url": "file:///w/v.whl", "archive_info": {}}, "run: pip install 'vita-vla[s3,ray] @ file:///w/v.whl'"),
        (
            {"url": "https://git.example/v", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "run: pip install 'vita-vla[s3,ray] @ git+https://git.example/v@abc'",
        ),
        (None, "in your checkout of VITA run: pip install -e '.[s3,ray]'"),
    ],
)
def test_an_extra_is_installed_from_where_the_package_came_from(
    origin: object, told: str, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Noted(origin))
    assert install_extra("s3,ray") == told


def test_an_extra_of_an_installed_checkout_is_installed_from_its_folder(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = Noted({"url": f"file://{installed}", "dir_info": {}})
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: noted)
    assert install_extra("s3") == f"run: pip install '{installed}[s3]'"


def test_an_extra_of_a_checkout_is_installed_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_extra("s3") == "in your checkout of VITA run: pip install -e '.[s3]'"


@pytest.mark.parametrize(
    "use",
    [
        "import vita_data; vita_data.Loader",
        "from vita_data.loader import make_loader; make_loader(None)",
        "from vita_data.loader import read_windows; read_windows(None, None, [])",
        "import vita_model; vita_model.VitaPolicy",
        "from vita_model import PolicyOptions",
    ],
)
def test_python_names_the_extra_where_torch_is_missing(use: str) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom vita_data.errors import RequestError\n"
        f"try:\n    {use}\nexcept ImportError as fault:\n    assert isinstance(fault, RequestError), repr(fault)\n"
        "    assert fault.name == 'torch'\n    print(fault)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"torch is not installed; {install_extra('train')}\n"), done.stderr


def test_a_package_of_no_extra_is_not_called_one() -> None:
    with pytest.raises(ModuleNotFoundError) as raised, installation.naming_extra():
        raise ModuleNotFoundError("No module named 'vita_dta'", name="vita_dta")
    assert raised.type is ModuleNotFoundError
