"""The errors users meet; each message says what was asked, what was found, where, and what to do."""

import errno
import os
import re

AGAIN = "run the same command again"
FIX_THAT = f"fix this and {AGAIN}"
RESUME = f"{AGAIN}; it resumes"
"""Of a build that has been started, alone."""
BRING_BACK = f"restore it (is a mount lost?) and {RESUME}"
TRAINING_RESUMES = f"{AGAIN} with --resume; it resumes from the last checkpoint"
"""What to do about a fault of the machine, as the end of a message."""

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
# What the system says of itself, not of a file's content. Some systems lack some of the names.
_MACHINE_NAMES = (
    *(
        "ENOSPC",
        "EDQUOT",
        "EMFILE",
        "ENFILE",
        "ENOMEM",
        "ENOBUFS",
        "EROFS",
        "EAGAIN",
        "EBUSY",
        "EINTR",
        "EBADF",
        "ECANCELED",
    ),
    *("EIO", "EREMOTEIO", "ENODEV", "ENXIO", "ENOMEDIUM", "EUCLEAN", "EBADMSG"),  # disks and their file systems
    *("ENOLCK", "EDEADLK", "ESTALE", "EREMOTE", "ENOLINK", "ECOMM", "EPROTO"),  # network file systems, and below
    *("ETIMEDOUT", "ETIME", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ENONET"),
    *("ENOTCONN", "ESHUTDOWN", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE"),
    *("ENOKEY", "EKEYEXPIRED", "EKEYREVOKED", "EKEYREJECTED"),  # encrypted disks, Kerberos
)
_MACHINE_FAULTS = FORBIDDEN | {getattr(errno, name) for name in _MACHINE_NAMES if hasattr(errno, name)}


def install_extra(extra: str) -> str:
    """Say how to install one of this project's extras.

    The distribution is on no package index (`vita` there is another project), so only a checkout has them.
    """
    return f"in your checkout of VITA run: pip install -e '.[{extra}]'"


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


def forbidden(where: object, code: int | None = errno.EACCES) -> str:
    """Say that the system does not let this user open a file or folder, and what to do; the whole message."""
    reason = os.strerror(code or errno.EACCES).lower()
    return f"cannot open {where}: {reason}; change its permissions (chmod u+rwX), then {AGAIN}"


def raise_machine_fault(error: BaseException, where: str) -> None:
    """Raise where not the data but the machine is to blame, so that no file is called unreadable for it.

    Args:
        error: what a read raised; what it was raised from counts as well.
        where: the file that was read.

    Raises:
        StorageError: it may not be read, the disk or the network under it failed, the disk is full, too many files are
            open, or a mount is lost.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StorageError):
            raise cause
        # HDF5 tells it in words, and raises a KeyError where an object cannot be reached
        told = re.search(r"errno = (\d+), error message", str(cause))
        code = int(told[1]) if told else getattr(cause, "errno", None) if isinstance(cause, OSError) else None
        if code in FORBIDDEN:
            raise StorageError(forbidden(where, code)) from error
        if code in _MACHINE_FAULTS:
            text = os.strerror(code) if told else " ".join(str(cause).split())
            raise StorageError(f"{where}: {text}; {FIX_THAT}") from error
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
