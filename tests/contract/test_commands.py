"""What holds for every command, without naming its arguments: paths, mistakes in one line, versions, no torch."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.bench import cli as bench_cli
from pipelines.bench.model import cli as cli_bench
from vita_data import __version__
from vita_data.cli import main as data_cli
from vita_data.command import arguments
from vita_data.command.exits import OneLineParser
from vita_model import arguments as train_arguments
from vita_model.devices import device
from vita_model.serving import cli as serving_cli
from vita_model.sims.cli import main as sims_cli

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "vita-data": data_cli._parser(),
    "vita-bench": bench_cli._parser(),
    "vita-train": train_arguments.train_parser(),
    "vita-train params": train_arguments.params_parser(),
    "vita-train export": train_arguments.export_parser(),
    "vita-train preview": train_arguments.preview_parser(),
    "vita-serve": serving_cli._parser(),
    "vita-eval": sims_cli._parser(),
    "vita-bench train": cli_bench.train_parser(),
    "vita-bench latency": cli_bench.latency_parser(),
    "vita-bench serve": cli_bench.serve_parser(),
}
SCRIPTS = ("latent_gate", "latent_evidence", "latent_rates", "overview")
"""Measurements and drawings for us, whose parsers are made where they run."""
WORDS, NUMBERS = (
    (arguments.word, device),
    (
        int,
        arguments.positive,
        arguments.not_negative,
        arguments.positives,
        arguments.port,
    ),
)


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Every parser, those of verbs too."""
    left: list[argparse.ArgumentParser] = list(COMMANDS.values())
    while left:
        parser = left.pop()
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                left += action.choices.values()


def valued() -> Iterator[tuple[str, argparse.Action]]:
    """Every argument that takes a value from the user's own words."""
    for parser in parsers():
        for action in parser._actions:
            if action.nargs != 0 and action.choices is None:
                yield f"{parser.prog} {action.dest}", action


def test_no_parser_is_forgotten_here() -> None:
    """All are made by one class, which says a mistake in one line, and each of them is looked at."""
    halves = ("vita_data", "vita_model", "pipelines")
    sources = [path.read_text() for half in halves for path in (ROOT / half).rglob("*.py")]
    assert not [text for text in sources if re.search(r"ArgumentParser\(\s*[^)\s]", text)], "make it a OneLineParser"
    made = [name for text in sources for name in re.findall(r'OneLineParser\(\s*prog="([^"]+)"', text)]
    assert sorted(made) == sorted([*COMMANDS, *SCRIPTS])
    assert all(isinstance(parser, OneLineParser) for parser in parsers())


def test_no_option_may_be_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    """Every parser refuses it before it looks for what is missing, and names the option that was meant."""
    num_options = 0
    for parser in parsers():
        known = parser._option_string_actions
        for option in [one for one in known if one.startswith("--")]:
            short = option[:-1]
            if short in (*known, "--"):
                continue
            with pytest.raises(SystemExit, match="2"):
                parser.parse_args([short, "1"])
            told = capsys.readouterr().err
            assert f": unknown option {short}; did you mean " in told, (parser.prog, told)
            assert option in told.partition("did you mean")[2], (parser.prog, told)
            num_options += 1
    assert num_options > 200


def test_the_home_folder_is_written_out_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    num_paths = 0
    for where, action in valued():
        assert callable(action.type), f"{where}: give it a type of vita_data.command.arguments"
        if action.type is arguments.setting:
            assert action.type("key.inner=~/x") == f"key.inner={tmp_path}/x", where
            assert action.type("key=a~/x") == "key=a~/x", where
        elif action.type in arguments.PATHS:
            assert str(action.type("~/x")) == f"{tmp_path}/x", where
            num_paths += 1
        else:
            assert action.type in (*WORDS, *NUMBERS), f"{where}: is it a path? See vita_data.command.arguments"
    assert num_paths > 30


def test_no_argument_takes_an_empty_text_or_one_that_is_not_utf8() -> None:
    for where, action in valued():
        for text in ("", " ", "caf\udce9"):
            with pytest.raises((argparse.ArgumentTypeError, ValueError)):
                raise AssertionError(f"{where} took {text!r} as {action.type(text)!r}")  # type: ignore[misc]


def test_no_path_leads_through_a_file_or_nowhere_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for where, action in valued():
        for bad, told in (
            ("file/x/y", f"{tmp_path / 'file'} is a file"),
            ("loop", "symbolic"),
            ("a" * 300, "too long"),
        ):
            if action.type in arguments.PATHS:
                with pytest.raises(argparse.ArgumentTypeError, match=told):
                    raise AssertionError(f"{where} took {action.type(str(tmp_path / bad))}")


@pytest.mark.parametrize("bad", ["-1", "0.5", "many", "99999999999999999999999", "1_000", "٣", "+3"])
def test_numbers_that_mean_nothing_are_refused(bad: str) -> None:
    for kind in (arguments.positive, arguments.positives, arguments.port):
        with pytest.raises(argparse.ArgumentTypeError, match=r"^expected .*, got "):
            kind(bad)
    assert (arguments.port("0"), arguments.port("65535"), arguments.positives("1, 2")) == (0, 65535, (1, 2))
    with pytest.raises(argparse.ArgumentTypeError, match="0 to 65535"):
        arguments.port("65536")


def test_every_command_and_verb_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    for parser in parsers():
        with pytest.raises(SystemExit, match="0"):
            parser.parse_args(["--version"])
        assert capsys.readouterr().out == f"{parser.prog.split()[0]} {__version__}\n"


TYPOS = """
import contextlib, io, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "timm", "torchvision", "tensorflow", "scipy"):
            raise ImportError(f"{name} was asked for")

sys.meta_path.insert(0, Absent())
from vita_data.cli import main as data_cli
from pipelines.bench import cli as bench_cli
from pipelines.bench.model import cli as cli_bench
from vita_model import cli
from vita_model.serving import cli as serving_cli
from vita_model.sims.cli import main as sims_cli

mains = {"vita-data": data_cli.main, "vita-train": cli.main, "vita-serve": serving_cli.main, "vita-eval": sims_cli.main,
         "vita-bench": bench_cli.main, "vita-bench train": cli_bench.train, "vita-bench latency": cli_bench.latency,
         "vita-bench serve": cli_bench.serve}
for command, arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = mains[command](arguments)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
RECIPE = "pipelines/recipes/debug_warmup.py"
COTRAIN = "pipelines/recipes/debug_cotrain.py"


def answers(asked: list[tuple[str, list[str]]]) -> list[tuple[int, str, str]]:
    """What the commands answer in a process where torch cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", TYPOS], input=json.dumps(asked), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert len(found) == len(asked)
    return found


def test_help_and_version_need_no_torch() -> None:
    asked = [(name, [*verb, word]) for name, *verb in map(str.split, COMMANDS) for word in ("--help", "--version")]
    asked = [(f"{name} {words[0]}", words[1:]) if name == "vita-bench" and len(words) > 1 else (name, words)
             for name, words in asked]  # fmt: skip
    for (name, words), (code, out, err) in zip(asked, answers(asked), strict=True):
        assert (code, err) == (0, ""), (name, words)
        assert out.startswith("usage: " if words[-1] == "--help" else name.split()[0])


def test_a_typo_is_told_without_torch(tmp_path: Path, toy_shards: Path) -> None:
    run, file, wrong = tmp_path / "runs" / "warmup", tmp_path / "file", tmp_path / "wrong.py"
    step = run / "checkpoints" / "step-00000004"
    step.mkdir(parents=True)
    state = {"schema_version": 3, "sha256": {}, "step": 4, "stage": "finetune", "recipe": {}, "sampler": {}}
    state |= {"statistics": {}, "drawn": {}, "features": "random", "conventions": {"libero": {}}}
    (step / "state.json").write_text(json.dumps(state))
    file.write_text("x")
    wrong.write_text("def recipe():\n    return 1 / 0\n")
    shards, out = ["--shards", str(toy_shards)], ["--out", str(tmp_path / "new")]
    train = [RECIPE, *shards, *out]
    lift = ["robosuite", "evaluate", "--task", "lift", *out]
    cases: list[tuple[str, list[str], str]] = [
        ("vita-train", [], "the following arguments are required: RECIPE.py, --shards, --out"),
        ("vita-train", ["parms", RECIPE], "unknown verb 'parms'; did you mean 'params'?"),
        ("vita-train", [*train, "--steps"], "argument --steps: expected one argument"),
        ("vita-train", [*train, "--step", "3"], "unknown option --step; did you mean --steps?"),
        ("vita-train", [*train, "--stpes", "3"], "unknown option --stpes; did you mean --steps?"),
        ("vita-train", [*train, "--init", "run"], "unknown option --init; did you mean --set init=VALUE?"),
        ("vita-train", [*train, "--lr", "1"], "unknown option --lr; did you mean --set optimizer.lr=VALUE?"),
        ("vita-train", [*train, "--steps", "x"], "argument --steps: expected a whole number above 0, got 'x'"),
        ("vita-train", [*train, "--steps", "-1"], "argument --steps: expected a whole number above 0, got '-1'"),
        ("vita-train", ["absent.py", *shards, *out], "recipe absent.py not found"),
        ("vita-train", [str(tmp_path), *shards, *out], f"recipe {tmp_path} not found"),
        ("vita-train", [str(file), *shards, *out], f"recipe {file}: expected a Python file"),
        ("vita-train", [str(wrong), *shards, *out], "failed: ZeroDivisionError"),
        ("vita-train", [*train, "--set", "sed=1"], "did you mean 'seed'?"),
        ("vita-train", [*train, "--set", "seed"], "expected KEY=VALUE"),
        ("vita-train", [*train, "--set", "optimizer.lr=fast"], "expected a value of type float, got 'fast'"),
        ("vita-train", [*train, "--set", "codebook.num_codes=0"], "CodebookConfig.num_codes must be"),
        ("vita-train", [*train, "--set", "manifest=absent.toml"], "manifest absent.toml not found"),
        ("vita-train", [*train, "--set", f"manifest={'a' * 300}"], "File name too long; give a shorter path"),
        ("vita-train", [*train, "--set", f"manifest={file}"], "is not valid TOML"),
        ("vita-train", [*train, "--set", "init=absent"], "--set init=absent: no checkpoint in absent/checkpoints"),
        ("vita-train", [*train, "--set", f"init={step}"], f"; give {run}"),
        ("vita-train", [*train, "--set", f"init={run.parent}"], f"; give {run}"),
        (
            "vita-train",
            [*train, "--set", "length=5", "--set", "model.backbone.num_latents=x"],
            "expected a value of type int, got 'x'",
        ),
        ("vita-train", [RECIPE, "--shards", "absent", *out], "--shards absent: folder not found"),
        ("vita-train", [RECIPE, "--shards", str(toy_shards / "bridge"), *out], f"; give {toy_shards}"),
        ("vita-train", [RECIPE, *shards, "--out", str(file)], "is a file"),
        ("vita-train", [RECIPE, *shards, "--out", str(run)], "is not empty"),
        ("vita-train", [RECIPE, *shards, "--out", ""], "expected a path, got an empty text"),
        ("vita-train", ["params", "absent.py"], "recipe absent.py not found"),
        ("vita-train", ["params", RECIPE, "--ranks", "0"], "argument --ranks: expected a whole number above 0"),
        ("vita-train", ["export", str(run.parent), str(tmp_path / "policy")], f"; give {run}"),
        ("vita-train", ["preview", str(run / "checkpoints"), *shards, "--source", "bridge", *out], f"; give {run}"),
        ("vita-train", ["preview", str(run), *shards, "--source", "bridge", "--out", str(tmp_path)], "--out"),
        ("vita-serve", [str(tmp_path / "absent")], "absent: expected a checkpoint (state.json)"),
        ("vita-serve", [str(step / "state.json")], f"; give {step}"),
        ("vita-serve", [str(run), "--port", "70000"], "expected a port from 0 to 65535, got '70000'"),
        ("vita-serve", [str(run), "--port", "http"], "expected a port from 0 to 65535, got 'http'"),
        ("vita-serve", [str(run), "--host", "a..b"], "--host a..b: expected an address of this machine"),
        ("vita-serve", [str(run), "--device", "gpu"], "expected cpu, cuda, cuda:0, cuda:1, ..., got 'gpu'"),
        (
            "vita-serve",
            [str(run), "--convention", "libro"],
            "--convention libro: not in this checkpoint, which has: canonical, libero",
        ),
        ("vita-serve", [str(run), "--precision", "fp8"], "argument --precision: invalid"),
        ("vita-eval", [], "the following arguments are required: BENCHMARK"),
        ("vita-eval", ["libro"], "invalid choice: 'libro'; did you mean 'libero'?"),
        ("vita-eval", [*lift, "--policy", str(run / "checkpoints")], f"; give {run}"),
        ("vita-eval", [*lift, "--policy", "absent"], "--policy absent: not found"),
        (
            "vita-eval",
            [*lift, "--policy", "random", "--episodes", "none"],
            "expected a whole number above 0, got 'none'",
        ),
        ("vita-eval", ["table", str(tmp_path / "absent.json")], "absent.json"),
        ("vita-eval", ["trials", str(tmp_path)], str(tmp_path)),
        ("vita-bench", ["trian"], "invalid choice: 'trian'; did you mean 'train'?"),
        ("vita-bench train", ["absent.py"], "recipe absent.py not found"),
        ("vita-bench train", [RECIPE, "--steps", "x"], "--steps: invalid int value: 'x'"),
        ("vita-bench train", [RECIPE, "--batch-size", "0"], "Trial.batch_size must be"),
        ("vita-bench train", [RECIPE, "--set", "sed=1"], "did you mean 'seed'?"),
        ("vita-bench latency", ["--preset", "tyni"], "--preset tyni: expected one of tiny"),
        ("vita-bench latency", ["--horizons", "4,x"], "expected a whole number above 0, got 'x'"),
        ("vita-bench latency", ["--device", "gpu"], "expected cpu, cuda"),
        ("vita-bench serve", ["--policy", str(run.parent)], f"; give {run}"),
        ("vita-bench serve", ["--out", str(tmp_path)], "expected a file, got a folder"),
        ("vita-bench serve", ["--requests", "1"], "--requests 1: expected at least one per client (16)"),
        ("vita-bench", ["build", "--dir", str(file)], "is a file; give a folder"),
        ("vita-bench", ["loader", "--dir", str(file)], "is a file; give a folder"),
        ("vita-data", ["toy", "--source", "bridge", "--raw", str(file)], "is a file; give a folder"),
        ("vita-data", ["biuld", "--source", "bridge"], "invalid choice: 'biuld'; did you mean 'build'?"),
        ("vita-data", ["biuld"], "invalid choice: 'biuld'; did you mean 'build'?"),
        ("vita-data", ["frobnicate"], "invalid choice: 'frobnicate' (choose from "),
        ("vita-data", ["stats", str(toy_shards)], "it contains built sources"),
    ]
    told = answers([(command, words) for command, words, _ in cases])
    for (command, words, wanted), (code, said, err) in zip(cases, told, strict=True):
        assert (code, said, err.count("\n")) == (2, "", 1), (command, words, err)
        assert err.startswith(f"{command}")
        assert wanted in err, (command, words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["vita_data", "--help"], "usage: vita-data"),
        (["vita_model", "--help"], "usage: python -m vita_model {train,serve,eval}"),
        (["vita_model", "train", "--help"], "usage: vita-train"),
        (["vita_model", "eval", "--help"], "usage: vita-eval"),
    ],
)
def test_the_packages_run_as_commands(words: list[str], told: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith(told)
    unknown = subprocess.run(
        [sys.executable, "-m", words[0], "biuld"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
