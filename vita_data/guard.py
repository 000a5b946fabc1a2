"""Turns an exception that one raw episode's data cause into a `Failure` of that episode only.

A fault of the machine or the program is never blamed on the data: it ends the run.
"""

import math
from collections.abc import Callable

from vita_data.errors import StorageError, VitaDataError, WorkerError, raise_machine_fault
from vita_data.types import Failure, Outcome

_ABSURD_ITEMS = 1 << 36
_MAX_CHARS = 300


def guarded(episode: str, convert: Callable[[], Outcome]) -> Outcome:
    """Convert one raw episode; an exception caused by its data becomes its `Failure`, and reading continues.

    Args:
        episode: the id of the raw episode.
        convert: reads the episode; `data_fault` decides about what it raises.

    Raises:
        Exception: the error itself, if the machine or the program is to blame.
    """
    try:
        return convert()
    except Exception as error:  # noqa: BLE001 - a damaged record can raise anything
        return Failure(episode=episode, detail=data_fault(error, episode))


def data_fault(error: Exception, where: str) -> str:
    """Describe in one line what is wrong with the raw data that caused an exception.

    Args:
        error: the exception of the read.
        where: the file or episode that was read, in case the exception does not name it.

    Raises:
        Exception: the error itself, if the machine or the program is to blame: no memory, no space, a lost mount,
            a missing library, a name that does not exist.
    """
    if isinstance(error, ImportError | NameError | StorageError | WorkerError):
        raise error
    # numpy reports the requested shape: more than any machine has means a damaged size in a file.
    shape = getattr(error, "shape", None)
    if isinstance(error, MemoryError) and (shape is None or math.prod(shape) < _ABSURD_ITEMS):
        raise error
    raise_machine_fault(error, where)
    if isinstance(error, VitaDataError):
        return str(error)
    return f"{where}: cannot be read; unexpected error {' '.join(repr(error).split())[:_MAX_CHARS]}"
