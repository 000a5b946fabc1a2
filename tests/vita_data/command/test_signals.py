"""Ctrl-C that is held back comes after the block, and other errors and threads are as without it."""

import signal
import threading

import pytest

from vita_data.command.signals import interrupts_held


def test_other_errors_pass_and_an_ignored_signal_stays_ignored() -> None:
    with pytest.raises(ValueError, match="broken"), interrupts_held():
        raise ValueError("broken")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_nothing() -> None:
    faults: list[ValueError] = []

    def run() -> None:
        try:
            with interrupts_held():
                pass
        except ValueError as fault:  # signal.signal refuses other threads
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert faults == []
