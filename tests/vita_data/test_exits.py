"""Commands end in one line and a code."""

import subprocess
import sys

import pytest

from vita_data.errors import RequestError, ShardError
from vita_data.exits import exit_code


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
        (KeyboardInterrupt(), 1, "vita-x: stopped; go on"),
    ],
)
def test_a_fault_is_one_line_and_a_code(fault, code, line, capsys):
    assert exit_code("vita-x", failing(fault), interrupted="stopped; go on", remedy="mend it") == code
    assert capsys.readouterr().err == line + "\n"


def test_a_code_of_the_commands_own_stays():
    assert exit_code("vita-x", lambda: 3, interrupted="") == 3
    assert exit_code("vita-x", lambda: None, interrupted="") == 0


def test_a_defect_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        exit_code("vita-x", failing(ZeroDivisionError()), interrupted="")


@pytest.mark.parametrize("module", ["vita_data.cli", "vita_model.cli"])
def test_a_reader_that_hangs_up_gets_no_traceback(module):
    asked = {"vita_data.cli": ["sources"], "vita_model.cli": ["params", "pipelines/recipes/debug_warmup.py"]}[module]
    command = [sys.executable, "-m", module, *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
