"""`vita-data view`: folders that it takes, what an export holds, mistakes in one line."""

import re
from pathlib import Path

import pytest

from tests.vita_data.pages.viewer.read_script import taken
from vita_data.cli.main import main
from vita_data.pages.viewer.files import ASSETS, ViewerFiles
from vita_data.pages.viewer.server import ViewerServer


def test_an_export_holds_what_a_server_would_answer(shard_folder: Path, tmp_path: Path) -> None:
    assert main(["view", str(shard_folder), "--html", str(tmp_path / "out")]) == 0

    files = ViewerFiles([shard_folder / "arm", shard_folder / "film"], num_written=50)
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {*ASSETS, *(f"data/{name}" for name in files.names())}
    assert {"data/clip/9.js", "data/images/9/0/1.js", "data/thumb/9.jpg"} <= written
    for name in files.names():
        assert (tmp_path / "out" / "data" / name).read_bytes() == files.read(name)


def test_only_the_first_clips_of_each_source_are_written_and_the_page_knows(shard_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["view", str(shard_folder), "--html", str(out), "--num-clips", "2"]) == 0

    assert sorted(path.name for path in (out / "data" / "clip").iterdir()) == ["0.js", "1.js", "5.js", "6.js"]
    assert taken((out / "data" / "meta.js").read_bytes(), "meta.js")["num_written"] == 2
    assert len(taken((out / "data" / "clips" / "0.js").read_bytes(), "clips/0.js")["keys"]) == 4


def test_an_earlier_export_is_replaced_and_another_folder_is_not(
    shard_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["view", str(shard_folder / "arm"), "--html", str(tmp_path / "out")]
    assert main(command) == 0
    assert main([*command, "--num-clips", "1"]) == 0
    assert [path.name for path in (tmp_path / "out" / "data" / "clip").iterdir()] == ["0.js"]
    capsys.readouterr()

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert main(["view", str(shard_folder), "--html", str(tmp_path / "mine")]) == 2
    assert capsys.readouterr().err == f"vita-data view: --html {tmp_path / 'mine'} is not empty; give a new folder\n"
    assert main(["view", str(shard_folder), "--html", str(tmp_path / "mine" / "notes.txt")]) == 2
    assert "is a file; give a folder" in capsys.readouterr().err


def test_several_folders_are_shown_together_and_a_source_twice_is_not(
    shard_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [str(shard_folder / name) for name in ("film", "arm")]
    assert main(["view", *both, "--html", str(tmp_path / "out")]) == 0
    meta = taken((tmp_path / "out" / "data" / "meta.js").read_bytes(), "meta.js")
    assert [one["name"] for one in meta["sources"]] == ["film", "arm"]
    assert main(["view", str(shard_folder), both[1], "--html", str(tmp_path / "out")]) == 0
    capsys.readouterr()

    (tmp_path / "copy").symlink_to(shard_folder)
    other = tmp_path / "copy" / "arm"
    assert main(["view", *both, str(other), "--html", str(tmp_path / "out")]) == 2
    told = f"vita-data view: {both[1]} and {other} both hold the source arm; give one of them\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "one of the arguments --html --serve is required"),
        (["--html", "out", "--serve"], "not allowed with argument"),
        (["--serve", "--num-clips", "3"], "--num-clips needs --html"),
        (["--html", "out", "--port", "8000"], "--port needs --serve"),
        (["--serve", "--port", "70000"], "expected a port from 0 to 65535, got '70000'"),
        (["--html", "out", "--num-clips", "0"], "expected a whole number above 0, got '0'"),
        (["--htlm", "out"], "did you mean --html?"),
        (["--html", "out", "--source-file", "my_arm.py"], "--source-file needs --raw"),
        (["--html", "out", "--raw", "absent"], "--raw absent: the folder does not exist"),
        (["--html", "out", "--raw", "/"], "--raw /: expected a folder for each source, such as arm"),
    ],
)
def test_mistakes_are_told_in_one_line(
    shard_folder: Path, words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["view", str(shard_folder), *words])
    except SystemExit as ended:
        code = int(str(ended.code))
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(re.escape(told), err)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_sources_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path), "--html", str(tmp_path / "out")]) == 2
    assert f"no built source in {tmp_path}" in capsys.readouterr().err


def test_a_server_ends_quietly_by_ctrl_c(
    shard_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(server: ViewerServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewerServer, "serve_forever", interrupted)
    assert main(["view", str(shard_folder), "--serve", "--port", "0"]) == 0
    shown = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ \(Ctrl-C ends\)\n\n", shown.out)
    assert shown.err == ""
