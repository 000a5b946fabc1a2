"""What is distributed: a name of our own, its licence, and no advice that would fetch somebody else's package."""

import re
import tomllib
from pathlib import Path

from vita_data import __version__
from vita_data.builder.plan import codec_versions

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXTS = ("vita_data/**/*.py", "vita_model/**/*.py", "pipelines/**/*.sh", "**/*.md")


def test_the_distribution_does_not_bear_the_name_of_another_project() -> None:
    assert PROJECT["name"] not in ("vita", "VITA")
    assert set(PROJECT["scripts"]) == {"vita-data", "vita-train", "vita-serve", "vita-eval"}


def test_no_text_tells_anybody_to_install_a_package_of_another_project() -> None:
    texts = [path for pattern in TEXTS for path in ROOT.glob(pattern) if ".venv" not in str(path)]
    assert len(texts) > 100
    told = re.compile(r"(?<![\w.-])vita\[|pip install[^\n]*\s'?vita(?![\w-])")
    assert [str(path) for path in texts if told.search(path.read_text())] == []


def test_every_extra_that_a_text_names_is_declared() -> None:
    sources = "".join(path.read_text() for pattern in TEXTS for path in ROOT.glob(pattern) if ".venv" not in str(path))
    named = set(re.findall(r"install_extra\(['\"](\w+)", sources)) | set(re.findall(r"'\.\[([\w,]+)\]'", sources))
    extras = {name for names in named for name in names.split(",")}
    assert {"s3", "ray", "serve"} <= extras
    assert extras <= set(PROJECT["optional-dependencies"])


def test_the_licence_is_the_one_that_the_package_declares() -> None:
    assert PROJECT["license"] == "MIT"
    (name,) = PROJECT["license-files"]
    text = (ROOT / name).read_text()
    assert text.startswith("MIT License\n")
    assert "WITHOUT WARRANTY OF ANY KIND" in text


def test_builds_of_before_the_new_name_go_on() -> None:
    """Their fingerprint has the version under the old name."""
    assert codec_versions()["vita"] == __version__
