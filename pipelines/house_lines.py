"""The lines of `pipelines.house_sums`: made of files and JSON values, written, read and compared."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_LONGEST = 64


class Line(NamedTuple):
    """A line of the file; the value has no blank in it."""

    name: str
    value: str


def files(name: str, folder: Path) -> Iterator[Line]:
    """Sum every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield summed(f"{name} {path.relative_to(folder)}", path.read_bytes())


def summed(name: str, data: bytes) -> Line:
    """Make a line of the sha256 of some bytes."""
    return Line(name, hashlib.sha256(data).hexdigest())


def leaves(name: str, value: Any) -> Iterator[Line]:
    """Lay out a JSON value: a line for each leaf of its maps; a float as its very bits, a long list as its sum."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{name} {key}", inner)
        return
    text = json.dumps(_exact(value), separators=(",", ":")).replace(" ", r"\u0020")
    yield Line(name, text) if len(text) <= _LONGEST else summed(name, text.encode())


def _exact(value: Any) -> Any:
    if isinstance(value, list):
        return [_exact(one) for one in value]
    if isinstance(value, dict):
        return {key: _exact(one) for key, one in value.items()}
    return value.hex() if isinstance(value, float) else value


def read(text: str) -> Mapping[str, str]:
    """Read the values of a text by their names."""
    lines = (line.rpartition(" ") for line in text.splitlines())
    return {name: value for name, _, value in lines}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Tell in a line each what has another value, and what is there in one of the two alone."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{name}: {before.get(name, 'absent')} -> {now.get(name, 'absent')}"


def text_of(lines: Iterable[Line]) -> str:
    """Write lines in the order of their names.

    Raises:
        ValueError: a name stands there twice.
    """
    values: dict[str, str] = {}
    for line in lines:
        if line.name in values:
            raise ValueError(f"two lines are called {line.name}")
        values[line.name] = line.value
    return "".join(f"{name} {value}\n" for name, value in sorted(values.items()))
