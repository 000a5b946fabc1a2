"""The errors users meet; each message says what was asked, what was found, where, and what to do."""


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
    """A worker process ended without a word, or a node of a cluster did."""
