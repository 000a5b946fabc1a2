"""The READMEs' commands and examples run as pasted, what they name exists, and their tables are true."""

import importlib.util
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vita_data import sources
from vita_data.builder import BuildRequest, build
from vita_data.shards.index import open_source, read_clip
from vita_data.shards.reader import ShardFiles
from vita_data.shards.verify import verify
from vita_data.testing import check_source
from vita_data.types import Split

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in ("vita_data", "vita_model", "pipelines", "manifests")
    for path in sorted((ROOT / folder).rglob("README.md"))
} | {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".github/CONTRIBUTING.md")}
README = PAGES["README.md"]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] | {
    "vita-bench": "pipelines.bench.cli:main"  # of the checkout, made by pipelines/setup.sh
}


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def follow(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a block where the repository's root would be; what it installs is there already."""
    script = re.sub(r"^(bash pipelines/setup\.sh|source \.venv/bin/activate|pip install ).*\n", "", script, flags=re.M)
    for name in ("manifests", "pipelines"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def untracked(folder: Path) -> list[str]:
    """What the blocks left in a folder that git would show if it were the repository."""
    left = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir() if not path.is_symlink())
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"], input="\n".join(left), cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return sorted(set(left) - set(ignored.stdout.splitlines()))


def shortened(block: str) -> str:
    """Train each stage for a few steps; warmup for as many as fill its codes."""
    return re.sub(
        r"^vita-train \w+_(\w+) .*",
        lambda told: f"{told[0]} --steps {20 if told[1] == 'warmup' else 2} --set eval_batches=1",
        block,
        flags=re.MULTILINE,
    )


def check_that_it_serves(script: str, folder: Path) -> None:
    """The block holds the terminal; meanwhile the server answers."""
    (command,) = script.strip().splitlines()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    words = shlex.split(command.replace("8000", str(port)))
    with subprocess.Popen(words, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert answers(f"http://127.0.0.1:{port}/healthz", server) == b"OK\n"
        finally:
            server.terminate()


def answers(address: str, server: "subprocess.Popen[str]") -> bytes:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                content: bytes = answer.read()
                return content
        except OSError:
            time.sleep(0.2)
    raise AssertionError(server.stderr and server.stderr.read()[-2000:])


def test_the_recipes_run_one_after_the_other(tmp_path: Path) -> None:
    """All blocks of the README in its order, each stage shortened, then its Python and that of the model's README."""
    for block in fenced("README.md", "bash"):
        # The two launchers install and test everything; they are run by hand and by CI, not from inside a test.
        if "pipelines/demo.sh" in block:
            continue
        if "vita-serve" in block:
            check_that_it_serves(block, tmp_path)
        else:
            done = follow(shortened(block), tmp_path)
            assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"
    given = "import numpy as np\nimage, state = np.zeros((48, 64, 3), np.uint8), np.zeros(64, np.float32)\n"
    (loader,), (policy,) = fenced("README.md", "python"), fenced("vita_model/README.md", "python")
    for code in (loader, *fenced("vita_data/README.md", "python"), given + policy):
        done = follow(f"python - <<'END'\n{code}\nEND\n", tmp_path)
        assert done.returncode == 0, f"{code}\n{done.stderr[-2000:]}"
    pages = ["manifests/README.md", "vita_data/README.md", "vita_data/sources/README.md"]
    assert {page for page, *_ in blocks()} == set(pages)
    follow_all(pages, tmp_path)
    assert untracked(tmp_path) == []


def test_another_order_of_the_readmes_works_too(tmp_path: Path) -> None:
    """Only the page that writes the most, then the recipes; what trains needs nothing but the shards they make."""
    follow_all(["vita_data/README.md"], tmp_path)
    for block in fenced("README.md", "bash")[1:4]:
        done = follow(block, tmp_path)
        assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"
    assert untracked(tmp_path) == []


def follow_all(pages: list[str], folder: Path) -> None:
    """Run all blocks of some pages one after the other in one folder, as a newcomer does."""
    for page in pages:
        for of_page, block, shown in blocks():
            if of_page == page:
                done = follow(block, folder)
                assert done.returncode == 0, f"{page}: {block}\n{done.stderr[-2000:]}"
                assert shown in done.stdout, block


def blocks() -> list[tuple[str, str, str]]:
    """Those of the other READMEs, and the output that stands below them, if any."""
    return [
        (page, block, shown)
        for page in PAGES
        if page != "README.md"
        for block, shown in re.findall(r"```bash\n([^`]*)```(?:\n```text\n([^`]*)```)?", PAGES[page])
    ]


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page, block, shown in blocks() if not shown],  # `test_manifests` runs the others
    ids=lambda text: text.split("\n")[0][:40],
)
def test_commands_run(page: str, block: str, tmp_path: Path) -> None:
    """Each block is complete in itself."""
    done = follow(block, tmp_path)

    assert done.returncode == 0, f"{page}: {done.stderr[-2000:]}"
    assert untracked(tmp_path) == []


def commands() -> Iterator[list[str]]:
    """Every command of ours that a page shows, in a block or in a line of text, as words."""
    ours = re.compile(r"vita-(?:data|train|serve|eval|bench)(?![\w:])[^`&;|\n]*")
    for text in PAGES.values():
        told = re.sub(r"\\\n", " ", text)
        for code in (*re.findall(r"```\w*\n.*?```", told, re.DOTALL), *re.findall(r"`vita-[^`\n]*`", told)):
            # What may be left out is in brackets, what may be chosen is apart by bars.
            plain = re.sub(r" +#.*|[\[\]]", "", re.sub(r"\s*\|\s*(--)?", r" \1", code))
            yield from (match.split() for match in ours.findall(plain))


def usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    module, function = SCRIPTS[words[0]].split(":")
    with pytest.raises(SystemExit) as ended:
        getattr(importlib.import_module(module), function)([*words[1:], "--help"])
    shown = capsys.readouterr()
    assert ended.value.code == 0, f"{' '.join(words)}: {shown.err}"
    return shown.out


def named(words: list[str]) -> list[str]:
    """The command with its verbs."""
    has_verbs = {"vita-data": 1, "vita-bench": 1, "vita-eval": 2 if words[1:2] in (["robosuite"], ["tabletop"]) else 1}
    if words[0] == "vita-train":
        return words[: 2 if words[1:2] and words[1] in ("params", "export", "preview") else 1]
    verbs = words[1 : 1 + has_verbs.get(words[0], 0)]
    return [words[0], *(verb for verb in verbs if not verb.startswith("-"))]


def test_every_command_that_a_page_shows_has_the_options_that_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[tuple[str, ...], set[str]] = {}
    for words in commands():
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        options.setdefault(tuple(named(words)), set()).update(given)

    assert len(options) > 20
    for command, given in options.items():
        known = set(re.findall(r"--[a-z][\w-]*", usage(command, capsys)))
        assert given <= known, f"{' '.join(command)}: {sorted(given - known)}"


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.split()) <= 1500


def test_the_table_of_sources_is_what_the_command_prints() -> None:
    assert "<!-- made by: vita-data sources -->\n| source |" in README
    cells = {
        row[0]: row[1:]
        for row in (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in README.splitlines()
            if line.startswith("| ")
        )
        if len(row) == 8
    }

    for name in sources.names():
        info = sources.load(name).INFO
        assert cells[name] == [
            "per file" if info.hz is None else f"{info.hz:g}",
            info.modality,
            ", ".join(sorted(info.cameras)),
            info.action_origin or "none",
            info.licence,
            "allowed" if info.redistributable else "forbidden",
            info.access,
        ]
    assert set(cells) - {"source"} == set(sources.names())


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    for path in re.findall(r"`((?:vita_data|vita_model|pipelines|manifests|tests)/[\w./]*)`", PAGES[page]):
        assert (ROOT / path).exists() or "NAME" in path, path
    for link in re.findall(r"[^!]\[[^\]\n]*\]\(([^):\n]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_use_in_python_is_reached_from_the_top_of_the_pages() -> None:
    assert "](vita_data/README.md#in-python)" in README
    assert "](#in-python)" in PAGES["vita_data/README.md"].partition("\n## ")[0]


def test_the_top_level_is_what_the_layout_says() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}

    assert {name for name in top if not name.startswith(".")} <= {
        "vita_data",
        "vita_model",
        "pipelines",
        "manifests",
        "tests",
        "pyproject.toml",
        "LICENSE",
        "README.md",
    }


def test_the_worked_example_is_a_source_that_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of the page, put in a file of its own, goes through toy, parts, episodes, build and verify."""
    code = fenced("vita_data/sources/README.md", "python")
    assert len(code) == 4
    path = tmp_path / "mylab.py"
    path.write_text(code[0], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("vita_data.sources.mylab", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(sources, "names", lambda: ["mylab"])
    (tmp_path / "raw").mkdir()
    module.write_toy(str(tmp_path / "raw"))

    result = build(BuildRequest(source="mylab", raw=str(tmp_path / "raw"), out=tmp_path, settings=module.Settings()))
    assert result.card["outcomes"] == {"ok": 2}
    assert verify(tmp_path / "mylab").problems == ()
    index = open_source(tmp_path / "mylab", Split.TRAIN)
    clip = read_clip(ShardFiles(), index.shards[0], index.tables[0].to_pylist()[0])
    assert clip.action is not None
    assert clip.state is not None
    moved = clip.state.values[1:, 24:27] - clip.state.values[:-1, 24:27]
    np.testing.assert_allclose(clip.action.track.values[:-1, 16:19], moved, atol=1e-6)
    assert clip.action.track.values[0, 22] == 1


@pytest.mark.parametrize(("number", "name"), [(1, "my_arm"), (2, "my_rlds"), (3, "my_demos")])
def test_a_declared_example_builds_from_a_file_of_its_own(tmp_path: Path, number: int, name: str) -> None:
    """The other texts of the page go through toy, build and verify by `--source-file`."""
    path = tmp_path / f"{name}.py"
    path.write_text(fenced("vita_data/sources/README.md", "python")[number], encoding="utf-8")
    declared = path.read_text(encoding="utf-8").partition("SOURCE =")[2]
    assert len(declared.splitlines()) <= 25

    source = sources.load_own(str(path))
    (tmp_path / "raw").mkdir()
    source.write_toy(str(tmp_path / "raw"))
    request = BuildRequest(
        source=name, source_file=str(path), raw=str(tmp_path / "raw"), out=tmp_path, settings=source.Settings()
    )
    result = build(request)
    assert result.card["outcomes"] == {"ok": 3}
    assert verify(tmp_path / name).problems == ()
    check_source(path)
