"""Shared with the tests of the server."""

from tests.vita_model.serving.conftest import serve  # noqa: F401 - a fixture
