"""The wheel has every manifest and recipe; the image is made of what exists."""

import re
import tomllib
from pathlib import Path

import pytest

setuptools = pytest.importorskip("setuptools")
ROOT = Path(__file__).parents[2]


def test_manifests_and_recipes_are_copied_into_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.packaging import BuildPy

    monkeypatch.chdir(ROOT)
    command = BuildPy(setuptools.Distribution({"packages": ["vita_data"], "script_name": "setup.py"}))
    command.ensure_finalized()
    command.build_lib = str(tmp_path)
    command.build_package_data()

    for folder, copied in (("manifests", "vita_data/_manifests"), ("pipelines/recipes", "vita_model/_recipes")):
        wanted = {path.name: path.read_bytes() for path in (ROOT / folder).iterdir() if path.suffix in (".toml", ".py")}
        assert {path.name: path.read_bytes() for path in (tmp_path / copied).iterdir()} == wanted
    assert {"manifests/toy.toml", "pipelines/packaging.py"} <= set(command.get_source_files())


def test_the_dockerfile_copies_what_exists_and_installs_declared_extras() -> None:
    text = (ROOT / "pipelines" / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()]
    assert {"pyproject.toml", "manifests", "pipelines", "vita_data", "vita_model"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (extras,) = re.findall(r"'\.\[(.*)\]'", text)
    assert set(extras.split(",")) <= set(declared)
