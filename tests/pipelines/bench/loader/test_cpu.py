"""CPU time counts children that still run, and their children."""

import subprocess
import sys
import time

from pipelines.bench.loader.cpu import cpu_seconds

_BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
_CHILD = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_BUSY!r}])"


def test_descendants_that_run_are_counted() -> None:
    start_s = cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        running_s = cpu_seconds() - start_s
        process.communicate(b"\n")
    ended_s = cpu_seconds() - start_s

    assert running_s > 0.25
    # what has ended is not lost, nor counted twice
    assert running_s - 0.05 < ended_s < running_s + 0.5


def test_sleep_costs_nothing() -> None:
    start_s = cpu_seconds()
    time.sleep(0.05)

    assert cpu_seconds() - start_s < 0.045
