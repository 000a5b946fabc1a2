"""Errors shown to users; each message says what was requested, what was found, where, and what to do."""

import difflib
import errno
import os
import re
from collections.abc import Iterable

AGAIN = "run the same command again"
FIX_THAT = f"fix this and {AGAIN}"
RESUME = f"{AGAIN}; it resumes"
"""Only for a build that has already started."""
FREE_MEMORY = f"ask for less at once, or close other programs, and {AGAIN}; if a file asked for it, check its origin"
BRING_BACK = f"restore it (is a mount lost?) and {RESUME}"
TRAINING_RESUMES = f"{AGAIN} with --resume; it resumes from the last checkpoint"
"""The end of a message about a fault of the machine: what to do."""

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
# Errors about the machine, not about a file's content. Some systems lack some of these names.
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
    *("ENOLCK", "EDEADLK", "ESTALE", "EREMOTE", "ENOLINK", "ECOMM", "EPROTO"),  # network file systems
    *("ETIMEDOUT", "ETIME", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ENONET"),
    *("ENOTCONN", "ESHUTDOWN", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE"),
    *("ENOKEY", "EKEYEXPIRED", "EKEYREVOKED", "EKEYREJECTED"),  # encrypted disks, Kerberos
)
_MACHINE_FAULTS = FORBIDDEN | {getattr(errno, name) for name in _MACHINE_NAMES if hasattr(errno, name)}


class VitaDataError(Exception):
    """Base of every error that is shown as one line instead of a traceback."""

    exit_code = 1


class RequestError(VitaDataError):
    """The request is bad: an unknown name, a missing directory, settings that differ from what was built."""

    exit_code = 2


class MissingExtraError(RequestError, ModuleNotFoundError):
    """A package that an extra of this distribution installs is missing; Python callers may catch it as ImportError."""


class ManifestError(RequestError):
    """A manifest cannot be used: a syntax error, an unknown source, missing shards."""


class SourceError(VitaDataError):
    """A raw tree or one of its files is wrong; the part fails and the build continues."""


class EpisodeError(VitaDataError):
    """One raw episode cannot be read; it is recorded as failed and the build continues."""


class ShardError(VitaDataError):
    """Stored data is damaged; names shard, clip and member."""


class StorageError(VitaDataError):
    """A disk or an object store is full, unreachable or denies access; the data is not to blame, and the run ends."""


class OutOfMemoryError(StorageError):
    """A library could not get memory."""


class WorkerError(VitaDataError):
    """A worker process or a node of a cluster ended unexpectedly, or a thread failed; the data is not to blame."""


def forbidden(where: object, code: int | None = errno.EACCES) -> str:
    """Return the message that this user may not open a file or folder, and what to do about it."""
    reason = os.strerror(code or errno.EACCES).lower()
    return f"cannot open {where}: {reason}; change its permissions (chmod u+rwX), then {AGAIN}"


def raise_machine_fault(error: BaseException, where: str) -> None:
    """Raise if the machine is to blame and not the data, so that no file is wrongly called unreadable.

    Args:
        error: the error of a read; its causes are checked too.
        where: the file that was read.

    Raises:
        StorageError: the file may not be read, its disk or network failed, the disk is full, too many files are open,
            or a mount is lost.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StorageError):
            raise cause
        # HDF5 has the errno only in its text, and raises a KeyError if an object cannot be read
        told = re.search(r"errno = (\d+), error message", str(cause))
        code = int(told[1]) if told else getattr(cause, "errno", None) if isinstance(cause, OSError) else None
        if code in FORBIDDEN:
            raise StorageError(forbidden(where, code)) from error
        if code in _MACHINE_FAULTS:
            text = os.strerror(code) if told else " ".join(str(cause).split())
            kind = OutOfMemoryError if code == errno.ENOMEM else StorageError
            raise kind(f"{where}: {text}; {FIX_THAT}") from error
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Name the known word that is most like a mistyped one: `did you mean 'bridge'?`, or `otherwise` if none is."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
