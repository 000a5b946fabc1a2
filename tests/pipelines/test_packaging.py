"""The wheel has every manifest and recipe."""

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
