"""The command line: exit codes of the contract, one line for each mistake, JSON alone on stdout."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vita_data.cli import main


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
    assert "nowhere: no such directory" in err


@pytest.mark.parametrize("name", ["bridge", "ssv2", "libero"])
def test_a_folder_without_the_dataset_is_a_bad_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "raw").mkdir()
    code, _, err = run(capsys, "build", "--source", name, "--raw", tmp_path / "raw", "--out", tmp_path)

    assert code == 2
    assert err.count("\n") == 1
    assert str(tmp_path / "raw") in err


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


def test_the_data_half_runs_without_torch(toy_raw: Path, tmp_path: Path) -> None:
    """Build, stats, verify and inspect with imports of torch and TensorFlow made impossible."""
    script = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "tensorflow", "transformers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from vita_data.cli import main
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
    assert "no such directory" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_a_bad_request(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = run(capsys, "build", "--source", "ssv2", "--raw", toy_raw / "ssv2", "--out", tmp_path / "file")

    assert code == 2
    assert "is a file" in err
