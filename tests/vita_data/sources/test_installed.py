"""Sources of installed packages are found by the entry-point group `vita.sources`, and build what their files build."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.object_store import files_below
from tests.vita_data.sources.test_from_file import MY_ARM
from vita_data.cli.main import main
from vita_data.errors import RequestError
from vita_data.sources import added_names, load, names, own_digest


def install(site: Path, package: str, entries: dict[str, str]) -> None:
    """Write what pip writes about a package, without pip."""
    folder = site / f"{package}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in entries.items()]
    (folder / "entry_points.txt").write_text("[vita.sources]\n" + "".join(lines))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages that this process and its workers import from."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return folder


def module(site: Path, text: str = MY_ARM) -> str:
    """Write a module with a name of its own: each is imported once in a process."""
    name = f"arm_{abs(hash(str(site)))}"
    (site / f"{name}.py").write_text(text)
    return name


def build(folder: Path, out: str, *words: str) -> dict[str, bytes]:
    raw = ["--raw", str(folder / "raw" / "my_arm")]
    assert main(["build", *words, *raw, "--out", str(folder / out), "--workers", "2", "--quiet"]) == 0
    found = files_below(folder / out)
    return {name: data for name, data in found.items() if not name.endswith(".build/lock")}


def test_an_installed_source_builds_the_bytes_of_its_file(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = module(site)
    install(site, "lab-arm", {"my_arm": f"{name}:SOURCE"})
    assert main(["toy", "--source", "my_arm", "--raw", str(tmp_path / "raw")]) == 0
    assert main(["probe", "--source", "my_arm", "--raw", str(tmp_path / "raw" / "my_arm")]) == 0
    assert main(["sources"]) == 0
    assert re.search(r"^my_arm +10 ", capsys.readouterr().out, re.MULTILINE)
    installed = build(tmp_path, "installed", "--source", "my_arm")

    assert installed == build(tmp_path, "own", "--source-file", str(site / f"{name}.py"))
    assert json.loads(installed["my_arm/dataset.json"])["source"] == "my_arm"
    assert "my_arm" in added_names()
    assert "my_arm" not in names()
    (tmp_path / "my.toml").write_text('name = "my"\nschema_version = 1\n[[sources]]\nsource = "my_arm"\nweight = 1.0\n')
    assert main(["mix", str(tmp_path / "my.toml"), "--shards", str(tmp_path / "installed")]) == 0
    assert "my_arm" in capsys.readouterr().out


def test_a_build_notices_that_the_package_has_changed(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = site / "lab_folder_arm"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "facts.py").write_text("HZ = 10.0\n")
    (package / "arm.py").write_text("from lab_folder_arm.facts import HZ\n" + MY_ARM.replace("hz=10.0,", "hz=HZ,"))
    install(site, "lab-arm", {"my_arm": "lab_folder_arm.arm"})
    assert main(["toy", "--source", "my_arm", "--raw", str(tmp_path / "raw")]) == 0
    build(tmp_path, "out", "--source", "my_arm")
    before = own_digest("my_arm")
    (package / "facts.py").write_text("HZ = 9.0\n")

    assert own_digest("my_arm") != before
    capsys.readouterr()
    raw = ["--raw", str(tmp_path / "raw" / "my_arm"), "--out", str(tmp_path / "out")]
    assert main(["build", "--source", "my_arm", *raw]) == 2
    assert "another content of --source-file, or of the source's package" in capsys.readouterr().err
    assert own_digest("bridge") == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import absent_module", "cannot be imported: ModuleNotFoundError: No module named 'absent_module'"),
        ("x = 1", "it defines neither SOURCE nor INFO, Settings"),
        ("SOURCE = 1", "SOURCE lacks INFO, Settings"),
        (MY_ARM.replace('"my_arm"', '"other"'), "expected INFO.name 'my_arm', found 'other'"),
    ],
)
def test_a_package_without_the_source_that_it_names_is_refused_and_hides_no_other(
    site: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    install(site, "lab-arm", {"my_arm": module(site, text)})
    with pytest.raises(RequestError, match=re.escape("source 'my_arm' of the package lab-arm 1.0: ")) as caught:
        load("my_arm")
    assert told in str(caught.value)
    assert main(["sources"]) == 1
    shown = capsys.readouterr()
    assert "bridge" in shown.out
    assert (shown.err.count("\n"), told in shown.err) == (1, True)


def test_names_are_unique(site: Path) -> None:
    name = module(site)
    install(site, "lab-arm", {"my_arm": name, "bridge": name})
    install(site, "other-arm", {"my_arm": "other_module"})

    with pytest.raises(RequestError, match=r"packages .* and .* have one of this name; uninstall all but one"):
        load("my_arm")
    assert "bridge" not in added_names()
    assert load("bridge").INFO.title != "My arm"
    with pytest.raises(RequestError, match="did you mean 'my_arm'"):
        load("my_arms")
