"""What an exception says: of a raw episode, or of the machine or the program."""

import errno
import os

import numpy as np
import pytest

from vita_data.errors import EpisodeError, StorageError, WorkerError
from vita_data.guard import guarded
from vita_data.types import Drop, Failure, Reason


def raising(error: BaseException) -> Drop:
    raise error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (EpisodeError("a#1: no text"), "a#1: no text"),
        (
            IndexError("list index out of range"),
            "a#1: cannot be read; unexpected error IndexError('list index out of range')",
        ),
        (StopIteration(), "a#1: cannot be read; unexpected error StopIteration()"),
        (
            FileNotFoundError(errno.ENOENT, "no", "/a/place"),
            "a#1: cannot be read; unexpected error FileNotFoundError(2, 'no')",
        ),
        (ValueError("two\nlines"), r"a#1: cannot be read; unexpected error ValueError('two\nlines')"),
        (KeyError("x" * 1000), "a#1: cannot be read; unexpected error KeyError('" + "x" * 290),
    ],
)
def test_what_is_wrong_with_the_data_is_the_failure_of_one_episode(error: Exception, detail: str) -> None:
    assert guarded("a#1", lambda: raising(error)) == Failure(episode="a#1", detail=detail)


def test_a_size_that_no_machine_has_is_damage() -> None:
    found = guarded("a#1", lambda: Drop(episode=str(np.empty((1 << 50,))), reason=Reason.SHORT))
    assert isinstance(found, Failure)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), StorageError),
        (caused(EpisodeError("the file is damaged"), OSError(errno.ENOSPC, "full")), StorageError),
        (StorageError("a lost mount"), StorageError),
        (WorkerError("a thread failed"), WorkerError),
        (MemoryError(), MemoryError),
        (NameError("nmae"), NameError),
        (ImportError("no such library"), ImportError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_is_wrong_with_the_machine_or_the_program_ends_the_run(
    error: BaseException, raised: type[BaseException]
) -> None:
    with pytest.raises(raised):
        guarded("a#1", lambda: raising(error))
