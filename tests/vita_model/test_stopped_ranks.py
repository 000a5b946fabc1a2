"""A stopped rank ends the run as a killed one does, within seconds; a running or ended one does not."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.vita_model.ranks import run_ranks
from vita_model.distributed import all_sum, joined_ranks
from vita_model.stopped_ranks import RankProcess, is_stopped, watching

WATCHES = """
import sys, time
from vita_model.stopped_ranks import RankProcess, watching
own = RankProcess.own(0)
with watching(own, {0: own, 1: RankProcess(rank=1, machine=own.machine, pid=int(sys.argv[1]))}):
    print("watching", flush=True)
    time.sleep(60)
"""


def test_only_a_stopped_process_is_stopped() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        for _ in range(100):
            if is_stopped(process.pid):
                break
            time.sleep(0.05)
        assert is_stopped(process.pid)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
        assert not is_stopped(process.pid)
        process.kill()
    assert not is_stopped(process.pid)


def test_a_stopped_peer_ends_this_process_with_a_line() -> None:
    with subprocess.Popen(["sleep", "60"]) as peer:
        command = [sys.executable, "-c", WATCHES, str(peer.pid)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout is not None
            assert watcher.stdout.readline() == "watching\n"
            peer.send_signal(signal.SIGSTOP)
            time.sleep(1.0)
            peer.send_signal(signal.SIGCONT)  # woken in time
            time.sleep(4.0)
            assert watcher.poll() is None
            peer.send_signal(signal.SIGSTOP)
            begin_s = time.monotonic()
            told = watcher.communicate(timeout=50)[1]
            assert time.monotonic() - begin_s > 2.5
        peer.kill()
    assert watcher.returncode == 1
    assert told.startswith(f"rank 0: rank 1 (process {peer.pid} of this machine) is stopped, so the run ends; ")
    assert told.endswith("--resume; it resumes from the last checkpoint\n")
    assert told.count("\n") == 1


def test_ranks_of_other_machines_are_not_looked_at() -> None:
    own = RankProcess.own(0)
    with watching(own, {0: own, 1: RankProcess(rank=1, machine="another", pid=os.getppid())}):
        pass


def stop_the_second() -> None:
    with joined_ranks() as ranks:
        if ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        all_sum(torch.ones(1))


@pytest.mark.slow
def test_a_rank_that_waits_for_a_stopped_one_ends() -> None:
    with pytest.raises(AssertionError, match=r"\{0: 1, 1: -9\}"):
        run_ranks(stop_the_second, 2, timeout_s=100.0)
