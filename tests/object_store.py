"""A real S3 protocol server on loopback, for tests: what clients send and see is what they send to and see of S3."""

import itertools
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import boto3
import fsspec
import pytest
from moto import settings
from moto.server import ThreadedMotoServer

# botocore reads these; few attempts, so that a test of a store that does not answer takes seconds.
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_RETRY_MODE": "standard",
    "INITIAL_NO_AUTH_ACTION_COUNT": "inf",
}


# moto's servers of one process share what they store.
_NUMBERS = itertools.count(1)


def forget_clients() -> None:
    """Drop fsspec's clients, which keep the endpoint and credentials that they were made with."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Set environment variables for clients made within; "" leaves one out."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value) if value else patch.delenv(name, raising=False)
        forget_clients()
        yield
    forget_clients()


class ObjectStore:
    """A running server; each bucket is new."""

    def __init__(self) -> None:
        self._server = self._started(port=0)
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self._client = boto3.client("s3", endpoint_url=self.endpoint)

    @staticmethod
    def _started(*, port: int) -> ThreadedMotoServer:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        return server

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have nothing listen; what was stored stays."""
        self._server.stop()
        try:
            yield
        finally:
            self._server = self._started(port=int(self.endpoint.rsplit(":", 1)[1]))

    def make_bucket(self) -> str:
        """Make an empty bucket and return its URL."""
        name = f"bucket-{next(_NUMBERS):03d}"
        self._client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def remove_bucket(self, url: str) -> None:
        """Remove a bucket with all that is in it."""
        bucket, _ = _split(url)
        for key in self.objects(url):
            self._client.delete_object(Bucket=bucket, Key=key)
        self._client.delete_bucket(Bucket=bucket)

    def upload(self, folder: Path, url: str) -> None:
        """Upload all files below a folder."""
        bucket, prefix = _split(url)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"s3://{bucket}/{prefix}{path.relative_to(folder)}", path.read_bytes())

    def put(self, url: str, data: bytes) -> None:
        """Write one object."""
        bucket, _ = _split(url)
        self._client.put_object(Bucket=bucket, Key=url.removeprefix(f"s3://{bucket}/"), Body=data)

    def get(self, url: str) -> bytes:
        """Read one object."""
        bucket, _ = _split(url)
        found: bytes = self._client.get_object(Bucket=bucket, Key=url.removeprefix(f"s3://{bucket}/"))["Body"].read()
        return found

    def objects(self, url: str) -> dict[str, bytes]:
        """Read all objects below an address, by their keys relative to it."""
        bucket, prefix = _split(url)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {
            key.removeprefix(prefix): self._client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys
        }

    def num_unfinished(self, url: str) -> int:
        """Count uploads that were begun and neither completed nor given up."""
        return len(self._client.list_multipart_uploads(Bucket=_split(url)[0]).get("Uploads", []))

    def close(self) -> None:
        """Stop the server."""
        self._client.close()
        self._server.stop()


def _split(url: str) -> tuple[str, str]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return bucket, f"{prefix.rstrip('/')}/" if prefix else ""


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Run a server on a free port, with the environment that clients need."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with environment(**_ENVIRONMENT):
        store = ObjectStore()
        try:
            with environment(AWS_ENDPOINT_URL=store.endpoint):
                yield store
        finally:
            store.close()


def files_below(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder, by their relative paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def refusing_credentials() -> Iterator[None]:
    """Have the server check credentials, of which it knows none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        forget_clients()
        yield
    forget_clients()


def unreachable() -> AbstractContextManager[None]:
    """Send clients to a port where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free.getsockname()[1]}")
