"""One odd raw episode loses itself only: which exceptions are the data's, and how an episode's become its `Failure`.

What is wrong with the machine or the program is never said of the data: it ends the run.
"""

import math
from collections.abc import Callable

from vita_data.errors import StorageError, VitaDataError, WorkerError, raise_machine_fault
from vita_data.types import Failure, Outcome

_ABSURD_ITEMS = 1 << 36
_MAX_CHARS = 300


def guarded(episode: str, convert: Callable[[], Outcome]) -> Outcome:
    """Convert one raw episode; an exception that its data cause is a `Failure` of it, and its neighbours are read.

    Args:
        episode: the id of the raw episode.
        convert: reads it; whatever it raises is judged by `data_fault`.

    Raises:
        Exception: the error itself, where the machine or the program is to blame.
    """
    try:
        return convert()
    except Exception as error:  # noqa: BLE001 - nobody knows all that a damaged record can raise
        return Failure(episode=episode, detail=data_fault(error, episode))


def data_fault(error: Exception, where: str) -> str:
    """Say in one line what is wrong with the raw data that an exception was raised on.

    Args:
        error: what reading raised.
        where: the file or the episode that was read, for an exception whose own text does not name it.

    Raises:
        Exception: the error itself, where the machine or the program is to blame: no memory, no space, a lost mount,
            a missing library, a name that does not exist.
    """
    if isinstance(error, ImportError | NameError | StorageError | WorkerError):
        raise error
    # numpy says how much it was asked for: more than any machine has is a damaged size in a file.
    shape = getattr(error, "shape", None)
    if isinstance(error, MemoryError) and (shape is None or math.prod(shape) < _ABSURD_ITEMS):
        raise error
    raise_machine_fault(error, where)
    if isinstance(error, VitaDataError):
        return str(error)
    return f"{where}: cannot be read; unexpected error {' '.join(repr(error).split())[:_MAX_CHARS]}"
