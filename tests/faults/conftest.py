"""Campaigns of faults: their figures are printed at the end, and written to the file VITA_FAULT_FIGURES if set."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vita_data.builder.conftest import raw, undisturbed

__all__ = ["raw", "undisturbed"]
_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a line to the figures."""

    def add(line: str) -> None:
        request.config.stash.setdefault(_FIGURES, []).append(line)
        if place := os.environ.get("VITA_FAULT_FIGURES"):
            with Path(place).open("a") as file:
                file.write(f"{line}\n")

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    if lines := config.stash.get(_FIGURES, []):
        terminalreporter.section("figures of the fault campaigns")
        terminalreporter.write("\n".join([*lines, ""]))
    yield
