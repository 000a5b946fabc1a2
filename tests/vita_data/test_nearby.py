"""A folder that lies a level too deep or too high: every command names the one that was meant, and it is right."""

import argparse
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import vita_data
from vita_data import nearby_raw, sources
from vita_data.cli.main import main
from vita_data.command.arguments import any_folder
from vita_data.curation.ids import read_ids
from vita_data.errors import ManifestError, RequestError
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.nearby import meant, near_name
from vita_data.pages.runs.run_files import read_metrics
from vita_data.shards.index import read_card
from vita_data.types import Part, RawTree, SourceSettings
from vita_model.cli import main as train_main
from vita_model.serving.cli import main as serve_main
from vita_model.sims.cli.main import main as eval_main

MANIFEST = (
    'name = "m"\nschema_version = 1\nsources = [{source = "bridge", weight = 1}, {source = "ssv2", weight = 1}]\n'
)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


@pytest.mark.parametrize("verb", ["verify", "stats", "inspect", "status"])
def test_a_built_source_is_found_from_a_level_too_deep_or_too_high(
    capsys: pytest.CaptureFixture[str], toy_shards: Path, tmp_path: Path, verb: str
) -> None:
    more = ("--html", tmp_path / "page.html") if verb == "inspect" else ()
    if verb != "verify":  # takes the folder with several too
        assert str(toy_shards / "bridge") in refusal(capsys, verb, toy_shards, *more)
    for deep in ("train", ".build"):
        told = refusal(capsys, verb, toy_shards / "bridge" / deep, *more)
        assert told.endswith(f"; give {toy_shards / 'bridge'}")


@pytest.mark.parametrize("verb", ["mix", "report"])
def test_the_folder_of_built_sources_is_found_from_a_level_too_deep_or_too_high(
    capsys: pytest.CaptureFixture[str], toy_shards: Path, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "m.toml").write_text(MANIFEST)
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "shards").symlink_to(toy_shards)

    def told(folder: Path) -> str:
        given = ("mix", tmp_path / "m.toml", "--shards", folder)
        return refusal(capsys, *given) if verb == "mix" else refusal(capsys, "report", folder, "--html", tmp_path / "p")

    assert told(toy_shards / "bridge").endswith(f"; give {toy_shards}")
    assert told(toy_shards / "bridge" / "train").endswith(f"; give {toy_shards}")
    assert told(tmp_path / "outer").endswith(f"; give {tmp_path / 'outer' / 'shards'}")


def test_the_working_folder_may_be_the_wrong_one(
    capsys: pytest.CaptureFixture[str], toy_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy_shards / "bridge")
    (tmp_path / "m.toml").write_text(MANIFEST)
    assert refusal(capsys, "mix", tmp_path / "m.toml", "--shards", ".").endswith(f"; give {toy_shards}")


@pytest.mark.parametrize("name", sources.names())
def test_a_raw_tree_is_found_from_a_level_too_deep_or_too_high(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "mine").symlink_to(toy_raw / name)
    deep = min(path for path in (toy_raw / name).iterdir() if path.is_dir())
    for given, right in ((tmp_path / "downloads", tmp_path / "downloads" / "mine"), (deep, toy_raw / name)):
        for verb in (("build", "--out", tmp_path / "out"), ("probe",)):
            told = refusal(capsys, *verb, "--source", name, "--raw", given)
            assert told.endswith(f"; give {right}")
    assert not (tmp_path / "out").exists()


def test_the_download_of_another_source_names_the_folder_beside_it_that_is_called_like_this_one(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    told = refusal(capsys, "build", "--source", "libero", "--raw", toy_raw / "bridge", "--out", tmp_path / "out")
    assert told.endswith(f"; give {toy_raw / 'libero'}")
    for name in ("bridge", "libero"):
        (tmp_path / name).symlink_to(toy_raw / "bridge")
    told = refusal(capsys, "build", "--source", "libero", "--raw", tmp_path / "bridge", "--out", tmp_path / "out")
    assert f"give {tmp_path}" not in told


def test_a_raw_path_that_is_a_file_or_absent_names_the_tree_above_it(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    info = next((toy_raw / "bridge").rglob("dataset_info.json"))
    for given in (info, toy_raw / "bridge" / "bridge_datset"):
        told = refusal(capsys, "build", "--source", "bridge", "--raw", given, "--out", tmp_path)
        assert told.endswith(f"; give {toy_raw / 'bridge'}")


def test_a_folder_above_is_no_advice_where_only_its_other_folders_would_be_read(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    (tmp_path / "07").symlink_to(toy_raw / "ur5e" / "01")
    other = tmp_path / "deep" / "other"
    (other / "meta").mkdir(parents=True)
    (other / "meta" / "info.json").write_text('{"codebase_version": "v4.0"}')
    assert sources.load("ur5e").parts(FsspecTree(str(tmp_path)), sources.load("ur5e").Settings())
    for given in (other, tmp_path / "deep" / "absent"):
        told = refusal(capsys, "build", "--source", "ur5e", "--raw", given, "--out", tmp_path / "out")
        assert "; give " not in told


def test_a_folder_of_other_files_is_not_said_to_want_a_build(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    told = refusal(capsys, "verify", toy_raw / "bridge")
    assert told.endswith("this is not a built source (a build writes OUT/NAME, which contains dataset.json)")
    (tmp_path / "kuka").mkdir()
    told = refusal(capsys, "verify", tmp_path / "kuka")
    assert told.endswith(f"run `vita-data build --source kuka --raw RAW --out {tmp_path}`")


def test_a_folder_given_as_manifest_names_the_manifests_in_it(
    capsys: pytest.CaptureFixture[str], toy_shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.toml").write_text(MANIFEST)
    told = refusal(capsys, "mix", tmp_path, "--shards", toy_shards)
    assert told.endswith(f"is a folder, expected a TOML file; give {tmp_path / 'm.toml'}")
    told = refusal(capsys, "mix", toy_shards / "bridge", "--shards", toy_shards)
    assert told.endswith(f"this is a built source: give its name, 'bridge', with {toy_shards} as the folder of shards")


def test_a_source_is_not_built_into_another(capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path) -> None:
    build = ("build", "--source", "bridge", "--raw", toy_raw / "bridge", "--out")
    for begun in ("dataset.json", ".build/plan.json"):
        file = tmp_path / begun[1] / "bridge" / begun
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        out = tmp_path / begun[1] / "bridge"
        assert refusal(capsys, *build, out).endswith(f"; give {out.parent}")
        assert not (out / "bridge").exists()


def test_a_training_run_is_found_from_a_level_too_deep_or_too_high(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "warmup"
    (run / "checkpoints").mkdir(parents=True)
    (run / "metrics.jsonl").touch()
    for given in (run / "checkpoints", tmp_path / "runs"):
        with pytest.raises(RequestError, match=f"^--run {given}: metrics.jsonl not found in it; give {run}$"):
            read_metrics(given)
    with pytest.raises(RequestError, match="give a folder that `vita-train --out` wrote"):
        read_metrics(tmp_path / "elsewhere" / "a" / "b" / "c" / "d")


def test_a_refusal_that_names_a_setting_gets_no_other_advice(
    capsys: pytest.CaptureFixture[str], toy_raw: Path, tmp_path: Path
) -> None:
    told = refusal(
        capsys, "build", "--source", "bridge", "--raw", toy_raw / "bridge", "--out", tmp_path, "--set", "release=9"
    )
    assert "--set release=9" in told
    assert "give " not in told


def test_advice_does_not_wait_for_a_huge_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour that would fit, but takes its time to be listed: the refusal comes without it."""
    monkeypatch.setattr(nearby_raw, "_PATIENCE_S", 0.05)
    (tmp_path / "huge").mkdir()
    asked, listed = threading.Event(), threading.Event()

    class Slow:
        Settings = SourceSettings

        @staticmethod
        def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
            asked.set()
            listed.wait(60)
            return [Part(id="one", num_bytes=1, num_episodes=1)]

    with pytest.raises(RequestError) as refused, nearby_raw.raw_advice(Slow, str(tmp_path), SourceSettings()):
        raise RequestError("no data found")
    assert str(refused.value) == "no data found"
    assert asked.wait(60)
    assert not listed.is_set()
    listed.set()


def test_what_may_not_be_looked_at_is_no_advice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    def refuse(path: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    assert meant(tmp_path, refuse) == ""
    assert meant(tmp_path / "a" / "absent", lambda path: path == tmp_path / "a") == f"; give {tmp_path / 'a'}"


def test_many_folders_that_fit_are_not_all_named(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"run{number}").mkdir()
    told = meant(tmp_path, lambda path: path.name.startswith("run"))
    assert told.startswith(f"; give one of {tmp_path / 'run0'}, ")
    assert told.endswith("run4 and 3 more")


def test_what_lies_beside_and_is_called_nearly_the_same_is_named(tmp_path: Path) -> None:
    (tmp_path / "shards3").mkdir()
    assert near_name(tmp_path / "shard3") == f"; did you mean {tmp_path}/shards3?"
    assert near_name(tmp_path / "runs") == near_name(tmp_path / "no" / "shards3") == ""
    with pytest.raises(argparse.ArgumentTypeError, match=r"did you mean .*/shards3\?"):
        any_folder(str(tmp_path / "shard3"))


def test_the_advice_to_build_a_source_can_be_run(toy_raw: Path, toy_shards: Path) -> None:
    with pytest.raises(ManifestError, match=r"this is not a built source \(a build writes OUT/NAME"):
        read_card(toy_raw / "bridge")
    with pytest.raises(ManifestError, match=rf"`vita-data build --source nosuch --raw RAW --out {toy_shards}`"):
        read_card(toy_shards / "nosuch")


def test_a_misspelled_folder_above_is_replaced_too(tmp_path: Path) -> None:
    (tmp_path / "shards" / "bridge").mkdir(parents=True)
    assert near_name(tmp_path / "shard" / "bridge") == f"; did you mean {tmp_path}/shards/bridge?"
    assert near_name(tmp_path / "shard" / "brige") == f"; did you mean {tmp_path}/shards/bridge?"
    assert near_name(tmp_path / "shard" / "libero") == ""


def test_what_exists_is_not_suggested_in_its_own_place(tmp_path: Path) -> None:
    for name in ("run1", "run2"):
        (tmp_path / name).mkdir()
    assert near_name(tmp_path / "run1") == ""


COMMANDS = {"vita-data": main, "vita-train": train_main, "vita-serve": serve_main, "vita-eval": eval_main}
PYTHON: dict[str, Callable[[str], object]] = {
    "open_source": vita_data.open_source,
    "open_loader": lambda shards: vita_data.open_loader(["bridge"], shards=shards),
    "read_ids": lambda path: read_ids(Path(path), place="--drop"),
}


@pytest.fixture
def desk(toy_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what commands take: raw, shards, manifests, a run, a recipe, an episode list."""
    for folder in ("raw/bridge", "runs/finetune", "lift", "manifests", "pages"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shards").symlink_to(toy_shards)
    (tmp_path / "manifests" / "mine.toml").write_text(MANIFEST)
    for file in ("recipe.py", "source.py", "result.json", "trials.csv", "bad.txt"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("vita-data view shards --raw rawr --html v", "raw"),
        ("vita-data view shards/bridge --raw rawr/bridge --html v", "raw/bridge"),
        ("vita-data mix manifests/mien.toml --shards shards", "manifests/mine.toml"),
        ("vita-data mix manifests/mine.toml --shards shard", "shards"),
        ("vita-data report shards --manifest manifest/mine.toml --html p", "manifests/mine.toml"),
        ("vita-data report shards --run runs/finetun --html p", "runs/finetune"),
        ("vita-data report shards --rollouts lft --html p", "lift"),
        ("vita-data report shards --html page/p", "pages"),
        ("vita-data verify shards/brige", "shards/bridge"),
        ("vita-data verify shard/bridge", "shards/bridge"),
        ("vita-data build --source bridge --raw rawr/bridge --out s", "raw/bridge"),
        ("vita-data build --source-file sorce.py --raw raw/bridge --out s", "source.py"),
        ("vita-serve runs/finetun", "runs/finetune"),
        ("vita-train export runs/finetun policy", "runs/finetune"),
        ("vita-train recipee.py --shards shards --out r", "recipe.py"),
        ("vita-train debug_cotrain --shards shards --out r --set init=runs/finetun", "runs/finetune"),
        ("vita-train debug_cotrain --shards shards --out r --set manifest=manifests/mien.toml", "manifests/mine.toml"),
        ("vita-eval table results.json", "result.json"),
        ("vita-eval trials trial.csv", "trials.csv"),
        ("open_source shard/bridge", "shards/bridge"),
        ("open_source shards/brige", "shards/bridge"),
        ("open_loader shard", "shards"),
        ("read_ids bd.txt", "bad.txt"),
    ],
)
def test_every_path_that_does_not_exist_is_told_what_it_is_like(
    given: str, meant: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *words = given.split()
    if command in COMMANDS:
        with suppress(SystemExit):
            assert COMMANDS[command](words) == 2
        told = capsys.readouterr().err
    else:
        with pytest.raises(RequestError) as refused:
            PYTHON[command](words[0])
        told = str(refused.value)
    assert f"did you mean {meant}?" in told
