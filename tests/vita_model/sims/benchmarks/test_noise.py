"""What simulators print does not mix with results."""

import ctypes
import os

import pytest

from vita_model.sims.benchmarks.offline_import import quiet


def test_what_a_simulator_prints_goes_to_stderr_and_our_lines_to_stdout(capfd):
    with quiet("Any") as loud:
        print("from Python")  # noqa: T201 - the simulator's
        ctypes.CDLL(None).puts(b"from C, buffered")
        os.write(1, b"from C\n")
        loud(print)("a result")
        print("again")  # noqa: T201 - the simulator's
    print("afterwards")  # noqa: T201 - after it

    out, err = capfd.readouterr()
    assert out.splitlines() == ["a result", "afterwards"]
    assert set(err.splitlines()) == {"from Python", "from C", "from C, buffered", "again"}


def test_stdout_comes_back_after_an_error(capfd):
    with pytest.raises(ValueError, match="of a simulator"), quiet("Any"):
        raise ValueError("of a simulator")
    os.write(1, b"there\n")
    assert capfd.readouterr().out == "there\n"
