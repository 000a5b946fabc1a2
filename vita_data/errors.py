"""The errors users meet; each message says what was asked, what was found, where, and what to do."""

import errno
import re

GO_ON = "run the same command again, it goes on from here"
MEND = f"mend that and {GO_ON}"
BRING_BACK = f"bring it back (a mount?) and {GO_ON}"
"""What to do about a fault of the machine, as the end of a message."""

# A full disk, too many open files, a lost mount: the machine's fault, not the file's.
_MACHINE_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.ESTALE, errno.ENOTCONN}
)


class VitaDataError(Exception):
    """Base of every error that is shown as one line instead of a traceback."""

    exit_code = 1


class RequestError(VitaDataError):
    """The request is bad: an unknown name, a missing directory, settings that differ from what was built."""

    exit_code = 2


class ManifestError(RequestError):
    """A manifest cannot be used: a syntax fault, an unknown source, absent shards."""


class SourceError(VitaDataError):
    """A raw tree or one of its files is wrong; the part fails and the rest goes on."""


class EpisodeError(VitaDataError):
    """One raw episode cannot be read; it is recorded as failed and the rest goes on."""


class ShardError(VitaDataError):
    """Written data is damaged; names shard, clip and member."""


class StorageError(VitaDataError):
    """A disk or an object store is full, unreachable or refuses; nothing is said of the data, and the run ends."""


class WorkerError(VitaDataError):
    """A worker process or a node of a cluster ended without a word, or a thread failed and the data is not to blame."""


def raise_machine_fault(error: BaseException, where: str) -> None:
    """Raise where not the data but the machine is to blame, so that no file is called unreadable for it.

    Args:
        error: what a read raised; what it was raised from counts as well.
        where: the file that was read.

    Raises:
        StorageError: too many open files, a full disk, a lost mount.
    """
    cause: BaseException | None = error
    while cause is not None:
        told = re.search(r"errno = (\d+)", str(cause))  # HDF5 tells it in words
        code = getattr(cause, "errno", None) or (int(told[1]) if told else None)
        if isinstance(cause, OSError) and code in _MACHINE_FAULTS:
            text = " ".join(str(cause).split())
            raise StorageError(f"{where}: {text}; {MEND}") from error
        cause = cause.__cause__ or cause.__context__
