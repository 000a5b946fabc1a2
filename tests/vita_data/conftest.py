"""Shared by the tests that need an object store."""

from collections.abc import Iterator

import pytest

from tests.object_store import ObjectStore, running_store


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    """An S3 server, and the environment that clients of it need while the module's tests run."""
    with running_store() as store:
        yield store
