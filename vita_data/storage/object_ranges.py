"""Reads byte ranges of objects; on S3 through obstore, whose Rust client needs a tenth of the CPU of a Python one.

obstore is only an accelerator: s3fs decides where the store is and with which credentials, and reads whatever obstore
could not read, so that every error is s3fs's.
"""

import logging
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any, Final

from fsspec.asyn import sync
from upath import UPath

from vita_data.storage.files import MAX_CONNECTIONS, AnyPath, read_ranges

_log = logging.getLogger(__name__)

_CREDENTIALS_LIFE = timedelta(minutes=4)
"""How long credentials are used before s3fs is asked again; it renews those that expire soon."""
_MAX_FAILURES = 3
"""Ranges in a row that only s3fs could read, after which obstore is not tried any more."""
_TIMEOUT_S = 60
"""As botocore's read timeout."""


def read_range(path: AnyPath, offset: int, size: int) -> bytes:
    """Read one range of a file or an object; a short file gives short bytes. Safe to call from many threads.

    Raises:
        OSError: the disk cannot read it.
        StorageError: the store cannot read it.
    """
    fast = _client_of(path) if isinstance(path, UPath) and size else None
    if fast is None or not isinstance(path, UPath):
        (data,) = read_ranges(path, [(offset, size)])
        return data
    found = fast.read(path.path, offset, size)
    if found is not None:
        return found
    (data,) = read_ranges(path, [(offset, size)])
    if data:  # A range behind the end is no failure.
        fast.count_failure()
    return data


_clients: dict[tuple[int, int, str], "_Client | None"] = {}
"""Clients by process, s3fs file system and bucket; None where obstore cannot be used."""
_clients_lock = threading.Lock()


def _client_of(path: UPath) -> "_Client | None":
    """Give the client of a path's bucket; None for other stores than S3, or without obstore."""
    fs, bucket = path.fs, path.path.split("/", 1)[0]
    key = (os.getpid(), id(fs), bucket)
    with _clients_lock:
        if key not in _clients:
            _clients[key] = _Client.made(fs, bucket)
        return _clients[key]


class _Client:
    """A bucket as obstore reads it, with the endpoint and credentials of an s3fs file system."""

    @classmethod
    def made(cls, fs: Any, bucket: str) -> "_Client | None":
        """Make a client; None if this is not S3, obstore is missing, or s3fs itself cannot connect."""
        if "s3" not in fs.protocol or find_spec("obstore") is None:
            return None
        try:
            return cls(fs, bucket)
        except Exception as error:  # noqa: BLE001 - s3fs will tell what is wrong when it reads
            _log.debug("bucket %s is read without obstore: %s", bucket, error)
            return None

    def __init__(self, fs: Any, bucket: str) -> None:
        from obstore.store import S3Store

        # Kept, so that no other file system takes its place in memory, by which clients are found.
        self._fs: Final = fs
        self._bucket: Final = bucket
        client = fs.s3
        signer = client._request_signer._credentials
        attempts = (client.meta.config.retries or {}).get("total_max_attempts", 5)
        who: dict[str, Any] = {"skip_signature": True} if signer is None else {"credential_provider": _Signer(fs)}
        self._store: Final = S3Store(
            bucket,
            endpoint=client.meta.endpoint_url,
            region=client.meta.region_name or "us-east-1",
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": client.meta.endpoint_url.startswith("http://"),
                "pool_max_idle_per_host": str(MAX_CONNECTIONS),
                "timeout": f"{_TIMEOUT_S}s",
            },
            retry_config={"max_retries": attempts - 1, "retry_timeout": timedelta(seconds=_TIMEOUT_S)},
            **who,
        )
        self._num_failures = 0
        self._reason = ""

    def read(self, path: str, offset: int, size: int) -> bytes | None:
        """Read a range of BUCKET/KEY; None if obstore cannot, or is not tried any more."""
        from obstore import get_range

        if self._num_failures >= _MAX_FAILURES:
            return None
        try:
            data = bytes(get_range(self._store, path.split("/", 1)[1], start=offset, length=size))
        except Exception as error:  # noqa: BLE001 - s3fs reads it, or tells what is wrong
            self._reason = " ".join(str(error).split())
            return None
        self._num_failures = 0
        return data

    def count_failure(self) -> None:
        """Count a range that s3fs read in place of obstore; after several in a row, say so once and stop trying."""
        self._num_failures += 1
        if self._num_failures == _MAX_FAILURES:
            _log.warning(
                "s3://%s: obstore cannot read what s3fs can (%s); continuing with s3fs, which is slower",
                self._bucket, self._reason,
            )  # fmt: skip


class _Signer:
    """Gives obstore the credentials that s3fs uses."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def __call__(self) -> Mapping[str, object]:
        frozen = sync(self._fs.loop, self._fs.s3._request_signer._credentials.get_frozen_credentials)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_LIFE,
        }
