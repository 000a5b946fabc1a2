"""The command line: exit codes of the contract, one line for each mistake, JSON alone on stdout."""

import errno
import importlib
import json
import os
import pty
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from vita_data.cli.main import main
from vita_data.errors import StorageError


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_unknown_source_is_a_bad_request_with_a_suggestion(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, "build", "--source", "brige", "--raw", tmp_path, "--out", tmp_path)

    assert (code, out) == (2, "")
    assert err == "vita-data build: unknown source 'brige'; did you mean 'bridge'?\n"


def test_a_missing_directory_is_a_bad_request(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "build", "--source", "bridge", "--raw", tmp_path / "nowhere", "--out", tmp_path)

    assert code == 2
    assert err.count("\n") == 1
    assert "nowhere: the folder does not exist" in err


@pytest.mark.parametrize("name", ["bridge", "ssv2", "libero"])
def test_a_folder_without_the_dataset_is_a_bad_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "raw").mkdir()
    code, _, err = run(capsys, "build", "--source", name, "--raw", tmp_path / "raw", "--out", tmp_path)

    assert code == 2
    assert err.count("\n") == 1
    assert str(tmp_path / "raw") in err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("verify memory://shards", "memory://shards: unsupported kind of address"),
        (
            "toy --source bridge --raw s3://bucket/x",
            "s3://bucket/x: expected a local path, got an object store's address",
        ),
        ("inspect . --html s3://bucket/x", "s3://bucket/x: expected a local path, got an object store's address"),
        (
            "build --source bridge --raw s3:/bucket/x --out .",
            "s3:/bucket/x: expected two slashes after the scheme; write s3://bucket/x",
        ),
        (
            "build --source bridge --raw . --out s3:/bucket/x",
            "s3:/bucket/x: expected two slashes after the scheme; write s3://bucket/x",
        ),
        ("build --source bridge --raw . --out memory://x", "memory://x: unsupported kind of address"),
    ],
)
def test_an_address_that_would_not_keep_the_data_is_a_bad_request(command: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vita_data.cli.main", *command.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]


def test_an_unfinished_build_is_told_from_no_build(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    raw = ("--source", "bridge", "--raw", toy_raw / "bridge", "--out", tmp_path)
    run(capsys, "build", *raw, "--set", "unit_bytes=1", "--rank", 0, "--num-ranks", 2)
    code, _, err = run(capsys, "verify", tmp_path / "bridge")
    assert code == 2
    assert "its build is not finished; run the same `vita-data build` again" in err
    run(capsys, "build", *raw, "--set", "unit_bytes=1")
    assert "it contains built sources: bridge" in run(capsys, "stats", tmp_path)[2]


def test_a_manifest_naming_absent_shards_is_a_bad_request(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest = tmp_path / "m.toml"
    manifest.write_text('name = "m"\nschema_version = 1\n[[sources]]\nsource = "bridge"\nweight = 1.0\n')
    code, _, err = run(capsys, "mix", manifest, "--shards", tmp_path)

    assert code == 2
    assert err.count("\n") == 1
    assert "'bridge'" in err


def test_damaged_data_exits_1_in_a_line_that_names_source_file_and_episode(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    raw = shutil.copytree(toy_raw / "ssv2", tmp_path / "raw")
    victim = min(Path(raw).rglob("*.webm"))
    victim.write_bytes(victim.read_bytes()[:2000])
    code, out, err = run(capsys, "build", "--source", "ssv2", "--raw", raw, "--out", tmp_path / "out", "--json")

    failed = json.loads(out)["failed"]
    assert code == 1
    assert len(failed) == 1
    lines = [line for line in err.splitlines() if "failed:" in line]
    assert len(lines) == 1
    assert "ssv2" in lines[0]
    assert victim.name in lines[0]
    assert "Traceback" not in err


def test_verify_takes_several_sources_or_their_folder_and_sums_up(
    capsys: pytest.CaptureFixture[str], toy_shards: Path, tmp_path: Path
) -> None:
    for name in ("bridge", "libero", "ssv2"):
        shutil.copytree(toy_shards / name, tmp_path / name)
    code, out, err = run(capsys, "verify", tmp_path, "--quiet")
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["bridge", "libero", "ssv2", "3 sources"]
    assert out.endswith("3 sources: no problems\n")

    (tmp_path / "libero" / "dataset.json").write_text("{}")
    next((tmp_path / "ssv2" / "train").glob("*.tar")).write_bytes(b"")
    (tmp_path / "bridge" / "dataset.json").rename(tmp_path / "card")
    code, out, err = run(capsys, "verify", tmp_path, "--quiet")
    assert code == 1
    assert f"note: {tmp_path / 'bridge'}: not checked, it is not finished" in err
    assert f"vita-data verify: {tmp_path / 'libero' / 'dataset.json'}: expected a card of this version" in err
    assert out.splitlines()[-1] == f"2 sources: problems in {tmp_path / 'libero'}, {tmp_path / 'ssv2'}"

    (tmp_path / "card").rename(tmp_path / "bridge" / "dataset.json")
    code, out, _ = run(capsys, "verify", tmp_path / "bridge", tmp_path / "libero", tmp_path / "bridge", "--json")
    found = json.loads(out)
    assert (code, found["num_failed"]) == (1, 1)
    assert [Path(one["folder"]).name for one in found["sources"]] == ["bridge", "libero"]
    assert json.loads(run(capsys, "verify", tmp_path / "bridge", "--json")[1])["source"] == "bridge"


def test_verify_exits_1_and_names_the_member_after_one_flipped_bit(
    capsys: pytest.CaptureFixture[str], toy_shards: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(toy_shards / "bridge", tmp_path / "bridge"))
    assert run(capsys, "verify", folder)[0] == 0
    shard = min((folder / "train").glob("*.tar"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)

    code, _, err = run(capsys, "verify", folder)
    assert code == 1
    assert shard.name in err
    assert "member" in err


def test_sources_and_status_print_json_alone(capsys: pytest.CaptureFixture[str], toy_shards: Path) -> None:
    code, out, _ = run(capsys, "sources", "--json")
    described = {source["name"]: source for source in json.loads(out)}

    assert code == 0
    assert described["bridge"]["settings"]["min_frames"] == {"type": "int", "default": 13}
    assert json.loads(run(capsys, "status", toy_shards / "ssv2", "--json")[1])["finished"]


def test_toy_does_not_write_into_a_folder_that_holds_something(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ssv2").mkdir()
    (tmp_path / "ssv2" / "mine.txt").write_text("x")
    code, _, err = run(capsys, "toy", "--source", "ssv2", "--raw", tmp_path)

    assert code == 2
    assert "not empty" in err


def test_a_toy_that_is_there_already_is_left_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """So that the examples of several READMEs can share one folder; what is not exactly the toy is still refused."""
    asked = ("toy", "--source", "bridge", "--raw", tmp_path)
    assert run(capsys, *asked)[0] == 0
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    before = [path.stat().st_mtime_ns for path in files]
    code, out, err = run(capsys, *asked)
    assert (code, out.strip(), err.count("\n")) == (0, str(tmp_path / "bridge"), 1)
    assert "already contains this toy" in err
    assert [path.stat().st_mtime_ns for path in files] == before

    for damage in (lambda: files[0].with_name("mine.txt").write_text("x"), files[-1].unlink):
        damage()
        code, _, err = run(capsys, *asked)
        assert code == 2
        assert "is not this toy" in err
        files[0].with_name("mine.txt").unlink(missing_ok=True)


def test_the_data_half_runs_without_torch(toy_raw: Path, tmp_path: Path) -> None:
    """Build, stats, verify and inspect with imports of torch and TensorFlow made impossible."""
    script = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "tensorflow", "transformers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from vita_data.cli.main import main
out = {str(tmp_path)!r}
assert main(["build", "--source", "bridge", "--raw", {str(toy_raw / "bridge")!r}, "--out", out]) == 0
assert main(["stats", out + "/bridge"]) == 0
assert main(["verify", out + "/bridge"]) == 0
assert main(["inspect", out + "/bridge", "--html", out + "/page.html"]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("verb", ["status", "verify", "stats"])
def test_a_folder_that_is_a_file_is_a_bad_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemExit) as stopped:
        main([verb, str(tmp_path / "file")])

    assert stopped.value.code == 2
    assert "the folder does not exist" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_a_bad_request(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = run(capsys, "build", "--source", "ssv2", "--raw", toy_raw / "ssv2", "--out", tmp_path / "file")

    assert code == 2
    assert "is a file" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--rank", 0), "--num-ranks"),
        (("--num-ranks", 2), "--rank"),
        (("--rank", 2, "--num-ranks", 2), "expected a rank from 0 to 1"),
        (("--rank", -1, "--num-ranks", 2), "expected a rank from 0 to 1"),
        (("--ray-address", "127.0.0.1:6379"), "--ray-address needs --engine ray"),
    ],
)
def test_options_that_do_not_fit_together_are_a_bad_request(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path, arguments: tuple[object, ...], named: str
) -> None:
    code, out, err = run(
        capsys, "build", "--source", "libero", "--raw", toy_raw / "libero", "--out", tmp_path / "out", *arguments
    )

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert named in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [("--workers", 0), ("--workers", "-1"), ("--num-ranks", 0), ("--limit", 0), ("--engine", "dask")]
)
def test_numbers_and_words_that_mean_nothing_are_a_bad_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(capsys, "build", "--source", "libero", "--raw", tmp_path, "--out", tmp_path, *arguments)

    assert stopped.value.code == 2
    assert str(arguments[0]) in capsys.readouterr().err


def test_ray_that_is_not_installed_is_a_bad_request(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, out, err = run(
        capsys, "build", "--source", "libero", "--raw", toy_raw / "libero", "--out", tmp_path, "--engine", "ray"
    )

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "pip install -e '.[ray]'" in err


def test_a_build_ends_with_its_counts_drops_rate_and_size(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    asked = ("build", "--source", "bridge", "--raw", toy_raw / "bridge", "--out", tmp_path, "--workers", 1)
    code, out, err = run(capsys, *asked, "--set", "unit_bytes=1")
    card = json.loads((tmp_path / "bridge" / "dataset.json").read_text())
    train, words = card["counts"]["train"]["paired"], [line.split() for line in out.splitlines()]

    assert code == 0
    assert words[0] == [f"{tmp_path}/bridge:", "built"]
    assert ["train", "paired", *(str(train[name]) for name in ("episodes", "clips", "steps", "frames"))] in words
    assert f"  outcomes: ok {card['outcomes']['ok']}, dropped {card['outcomes']['dropped']}" in out.splitlines()
    assert "  drops: T1 (empty instruction) 1, short (too few frames) 1" in out.splitlines()
    assert any(line.startswith("  size: ") and " shards" in line for line in out.splitlines())
    assert any(line.startswith("  rate: 8 episodes in ") and "frames/s" in line for line in out.splitlines())
    assert [line.split(";")[0].split(":")[1] for line in err.splitlines()] == [f" unit {n}/3" for n in (1, 2, 3)]

    code, out, err = run(capsys, *asked, "--set", "unit_bytes=1", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["state"] == "already done"
    assert json.loads(out)["card"] == card
    told = [line.split() for line in run(capsys, *asked, "--set", "unit_bytes=1")[1].splitlines()]
    assert told[1:] == [line for line in words[1:] if line[0] != "rate:"]


def test_json_stands_alone_on_stdout_while_units_are_told_on_stderr(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    asked = ("build", "--source", "libero", "--raw", toy_raw / "libero", "--out", tmp_path, "--workers", 1, "--json")
    code, out, err = run(capsys, *asked, "--set", "unit_bytes=1", "--rank", 1, "--num-ranks", 2)
    assert code == 0
    assert json.loads(out) == {"state": "share built", "card": None, "failed": []}
    assert err.startswith("libero: unit ")

    found = json.loads(run(capsys, "status", tmp_path / "libero", "--json")[1])
    assert (found["num_done"], found["num_units"], found["finished"]) == (1, 2, False)
    code, out, _ = run(capsys, "status", tmp_path / "libero")
    assert code == 0
    assert out.splitlines()[0] == "libero: under way or stopped, 1 of 2 units"
    assert json.loads(run(capsys, *asked, "--set", "unit_bytes=1")[1])["state"] == "built"
    assert run(capsys, "status", tmp_path / "libero")[1].splitlines()[0] == "libero: finished, 2 of 2 units"


def test_a_terminal_shows_a_bar_with_rate_and_time_left(toy_raw: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vita_data.cli.main", "build", "--source", "libero", "--raw", toy_raw / "libero"]
    command += ["--out", tmp_path, "--workers", "1", "--set", "unit_bytes=1"]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:
            # The other end of a terminal ends so.
            pass
        assert process.wait() == 0
    os.close(ours)
    text = shown.decode()

    assert "libero: 100%|" in text
    assert "B/s" in text
    assert "8 episodes" in text
    assert "<" in text, "the time left stands behind the time that went by"
    assert "unit 1/2" not in text


def test_mix_tells_terms_and_shares_beside_table_10_in_text_and_json(
    capsys: pytest.CaptureFixture[str], toy_shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(toy_shards / "bridge", tmp_path / "bridge")
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        'name = "m"\nschema_version = 1\n'
        'sources = [{source = "bridge", weight = 1, note = "Table 10: 1.56% printed"}]\n'
    )
    asked = ("mix", manifest, "--shards", tmp_path, "--basis", "frames", "--batch-size", 16)
    code, out, err = run(capsys, *asked)

    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "m: basis frames, batch size 16"
    assert "  bridge    1.56%  100.00%  100.00%   +0.00  100.00%   +0.00   100.00%   +0.00" in out.splitlines()
    found = json.loads(run(capsys, *asked, "--json")[1])
    assert found["realised"][0]["printed"] == 0.0156
    assert found["realised"][0]["points"] == {"warmup": 0, "cotrain": 0, "finetune": 0}
    assert json.loads((tmp_path / "m.lock.json").read_text()) == found


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.EROFS, "Read-only file system", "/mount/shards"),
        PermissionError(errno.EACCES, "Permission denied", "/mount/shards"),
        StorageError("s3://bucket/shards: access denied"),
    ],
)
def test_mix_prints_its_table_where_the_lock_file_cannot_be_written(
    capsys: pytest.CaptureFixture[str],
    toy_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    def refuse(path: object, data: bytes) -> None:
        raise fault

    monkeypatch.setattr(importlib.import_module("vita_data.loader.mixture.report"), "write_atomically", refuse)
    manifest = tmp_path / "m.toml"
    manifest.write_text('name = "m"\nschema_version = 1\nsources = [{source = "bridge", weight = 1}]\n')
    code, out, err = run(capsys, "mix", manifest, "--shards", toy_shards)
    assert (code, out.splitlines()[0]) == (0, "m: basis weight, batch size 1024")
    assert "lock file:" not in out
    assert err.startswith(f"vita-data mix: note: lock file {toy_shards}/m.lock.json cannot be written (")
    assert err.count("\n") == 1

    code, out, err = run(capsys, "mix", manifest, "--shards", toy_shards, "--json")
    assert (code, json.loads(out)["name"], err.count("\n")) == (0, "m", 1)


def test_the_home_folder_may_begin_every_path(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw").symlink_to(toy_raw)
    (tmp_path / "m.toml").write_text('name = "m"\nschema_version = 1\nsources = [{source = "bridge", weight = 1}]\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "elsewhere")

    build = ("build", "--source", "bridge", "--raw=~/raw/bridge", "--out=~/shards", "--workers", 2)
    assert run(capsys, *build, "--set", "unit_bytes=1")[0] == 0
    assert run(capsys, "verify", "~/shards/bridge")[0] == 0
    code, out, _ = run(capsys, "mix", "~/m.toml", "--shards=~/shards")
    assert (code, out.splitlines()[-1]) == (0, f"lock file: {tmp_path}/shards/m.lock.json")
    assert run(capsys, "inspect", "~/shards/bridge", "--html=~/page.html")[1] == f"{tmp_path}/page.html\n"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_errors_name_the_verb_and_not_its_option_of_the_same_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sources = tmp_path / "one", tmp_path / "other"
    for folder in sources:
        folder.mkdir()
    code, _, err = run(capsys, "merge", *sources, "--out", tmp_path, "--name", "robots")

    assert code == 2
    assert err.startswith("vita-data merge: ")
