"""Commands end in one line and a code."""

import os
import subprocess
import sys

import pytest

from vita_data.command.exits import OneLineParser, exit_code, one_line, printable
from vita_data.errors import FREE_MEMORY, RequestError, ShardError
from vita_data.installation import install_extra


def failing(fault: BaseException):
    def command() -> None:
        raise fault

    return command


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        (ShardError("shard 3: damaged"), 1, "vita-x: shard 3: damaged"),
        (RequestError("no such source"), 2, "vita-x: no such source"),
        (
            OSError(28, "No space left on device", "/full/file"),
            1,
            "vita-x: /full/file: No space left on device; mend it",
        ),
        (OSError("socket gone"), 1, "vita-x: socket gone; mend it"),
        (MemoryError(), 1, f"vita-x: not enough memory; {FREE_MEMORY}"),
        (MemoryError("cannot allocate 9 TB"), 1, f"vita-x: not enough memory: cannot allocate 9 TB; {FREE_MEMORY}"),
        (
            RuntimeError("DefaultCPUAllocator: no\nstack"),
            1,
            f"vita-x: not enough memory: DefaultCPUAllocator: no; {FREE_MEMORY}",
        ),
        (KeyboardInterrupt(), 1, "vita-x: stopped; go on"),
        (OSError(36, "File name too long", "a" * 9), 2, "vita-x: aaaaaaaaa: File name too long; give a shorter path"),
        (RequestError("a\nb \x1b[31m caf\udce9"), 2, "vita-x: a b \\x1b[31m caf\\udce9"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            2,
            "vita-x: torch is not installed; in your checkout of VITA run: pip install -e '.[train]'",
        ),
    ],
)
def test_a_fault_is_one_line_and_a_code(fault, code, line, capsys):
    assert exit_code("vita-x", failing(fault), interrupted="stopped; go on", remedy="mend it") == code
    assert capsys.readouterr().err == line + "\n"


def test_names_of_strangers_do_not_reach_the_terminal_as_commands():
    assert printable("  a\x1b[2J\x9b1m\u202e  café\t") == "  a\\x1b[2J\\x9b1m\\u202e  café\\t"


def test_all_extras_that_a_command_lacks_are_named_at_once(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fault = ModuleNotFoundError("No module named 'websockets'", name="websockets")
    assert exit_code("vita-x", failing(fault), interrupted="", extras=("serve", "train")) == 2
    assert capsys.readouterr().err.endswith("websockets is not installed; " + install_extra("serve,train") + "\n")


def test_a_code_of_the_commands_own_stays():
    assert exit_code("vita-x", lambda: 3, interrupted="") == 3
    assert exit_code("vita-x", lambda: None, interrupted="") == 0


def test_a_defect_of_ours_is_not_hidden():
    for defect in (
        ZeroDivisionError(),
        RuntimeError(),
        ModuleNotFoundError("No module named 'vita_dta'", name="vita_dta"),
    ):
        with pytest.raises(type(defect)):
            exit_code("vita-x", failing(defect), interrupted="")


def test_nothing_is_said_where_there_is_no_output(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert exit_code("vita-x", lambda: None, interrupted="") == 0
    assert exit_code("vita-x", failing(ShardError("damaged")), interrupted="") == 1
    assert capsys.readouterr().err == "vita-x: damaged\n"


def test_a_pipe_of_somebody_elses_is_named(capsys):
    assert exit_code("vita-x", failing(BrokenPipeError(32, "Broken pipe")), interrupted="") == 1
    assert capsys.readouterr().err == "vita-x: Broken pipe\n"


HANGS_UP = """
import sys
from vita_data.errors import RequestError
from vita_data.command.exits import OneLineParser, exit_code, printable

def command():
    sys.stdin.read()
    print("line")
    {then}

sys.exit(exit_code("vita-x", command, interrupted=""))
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("then", "code", "said"),
    [("return 0", 1, ""), ("print('more', flush=True)", 1, ""), ("raise RequestError('no')", 2, "vita-x: no\n")],
)
def test_a_reader_that_hangs_up_gets_no_traceback(then, code, said, unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = HANGS_UP.format(then=then)
    with subprocess.Popen([sys.executable, "-c", program], env=environment, text=True, **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        found = process.stderr.read()
    # Without a buffer the first line fails already, before the request is found bad.
    assert (process.returncode, found) == ((1, "") if unbuffered else (code, said))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["build", "--source", "a", "--workes", "2"], "build: unknown option --workes; did you mean --workers? see"),
        (["build", "--sou", "a"], "build: unknown option --sou; did you mean --source? see"),
        (["build", "--s=a", "b"], "build: unknown option --s; did you mean --source or --share? see"),
        (["build", "--souce=a"], "build: unknown option --souce; did you mean --source? see"),
        (["build", "--source", "a", "--qqq"], "build: unknown option --qqq; see"),
        (["build", "--source", "a", "b"], "build: unexpected argument b; see"),
        (["build"], "build: the following arguments are required: --source; see"),
    ],
)
def test_what_a_verb_does_not_know_is_said_by_that_verb(given, said, capsys):
    parser = OneLineParser(prog="vita-x")
    build = parser.add_subparsers(dest="name", required=True).add_parser("build")
    build.add_argument("--source", required=True)
    build.add_argument("--workers")
    build.add_argument("--share")
    assert parser.parse_args(["build", "--source", "a", "--workers=2"]).workers == "2"
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(given)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"vita-x {said} vita-x build --help\n"


def test_a_very_long_message_keeps_its_beginning_and_its_end() -> None:
    """A value in a stranger's file may be megabytes of text; the end says what to do."""
    told = one_line("x.hdf5: action_space is " + "y" * 5_000_000 + "; set it")
    assert len(told) < 4100
    assert told.startswith("x.hdf5: action_space is y")
    assert told.endswith("y; set it")
    assert "(4996032 characters left out)" in told
    assert one_line("a" * 4000) == "a" * 4000


def test_a_misspelt_verb_is_reported_before_its_options(capsys):
    parser = OneLineParser(prog="vita-x")
    verbs = parser.add_subparsers(dest="name", required=True)
    inner = verbs.add_parser("tabletop").add_subparsers(dest="inner", required=True)
    inner.add_parser("evaluate").add_argument("--task")
    for given in (["tabletpo", "evaluate", "--task", "a"], ["tabletop", "evaluat", "--task", "a"]):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(given)
        assert "invalid choice: " in (told := capsys.readouterr().err)
        assert "did you mean 'tabletop'?" in told or "did you mean 'evaluate'?" in told


def test_an_option_that_shares_only_a_few_letters_is_not_suggested(capsys):
    parser = OneLineParser(prog="vita-x")
    parser.add_argument("--quiet", "-q")
    parser.instead = lambda option: "--set seed=VALUE" if option == "--seed" else ""
    for option, told in (
        ("--init", ";"),
        ("--repo", ";"),
        ("--hlep", ";"),
        ("--quite", "; did you mean --quiet?"),
        ("--seed", "; did you mean --set seed=VALUE?"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([option, "1"])
        assert capsys.readouterr().err == f"vita-x: unknown option {option}{told} see vita-x --help\n"


def test_an_abbreviation_before_the_verb_is_refused_too(capsys):
    parser = OneLineParser(prog="vita-x")
    parser.add_subparsers(dest="name", required=True).add_parser("build").add_argument("--vers")
    for given in (["--vers"], ["--vers", "build"]):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(given)
        assert capsys.readouterr().err == "vita-x: unknown option --vers; did you mean --version? see vita-x --help\n"
    assert parser.parse_args(["build", "--vers", "3"]).vers == "3"
