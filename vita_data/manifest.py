"""Manifests: small TOML files, written by people, that say what to mix and in which proportion.

This module reads and checks only the file; `vita_data.loader.Plan` checks whether its sources are built. No weights are
guessed from counts: each weight is written in the file, with a note on where it comes from.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from vita_data import SCHEMA_VERSION
from vita_data.config.checks import is_finite
from vita_data.errors import ManifestError, did_you_mean, forbidden
from vita_data.installation import MANIFESTS
from vita_data.nearby import advice, near_name
from vita_data.storage.files import expand_home, read_files
from vita_data.types import Basis, Json, Manifest, MixtureEntry, Split

_TOP_KEYS = ("name", "schema_version", "basis", "temperature", "max_repeats_per_100k_steps", "sources")
_SOURCE_KEYS = ("source", "weight", "split", "note", "where", "fraction", "exclude")
_WHERE_KEYS = ("suite", "task")

UNNAMED = "mixture"
"""Name and path of a manifest that a caller gave as names of sources."""

_Choice = TypeVar("_Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class _Table:
    """One TOML table and its place in the file, for messages."""

    place: str
    values: Json

    def fault(self, key: str, wanted: str) -> ManifestError:
        found = repr(self.values[key]) if key in self.values else "nothing"
        return ManifestError(f"{self.place}: `{key}` must be {wanted}; found {found}")

    def only(self, allowed: Sequence[str]) -> None:
        for key in self.values:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"expected one of: {', '.join(allowed)}"
                raise ManifestError(f"{self.place}: unknown key `{key}`; {hint}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.fault(key, "a text" if default is not None else "a non-empty text")
        return value

    def number(self, key: str, default: float | None = None, *, most: float = math.inf) -> float:
        value = self.values.get(key, default)
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or not math.isfinite(value) or not 0 < value <= most:  # type: ignore[operator, arg-type]
            raise self.fault(key, "a finite number above 0" + ("" if most == math.inf else f" and at most {most:g}"))
        return float(value)  # type: ignore[arg-type]

    def choice(self, key: str, default: _Choice) -> _Choice:
        options = type(default)
        value = self.values.get(key, default)
        if not isinstance(value, str) or value not in list(options):
            raise self.fault(key, f"one of {', '.join(options)}")
        return options(value)


_MIXTURE = (
    "expected the path of a manifest, names of built sources such as ['bridge'], or {name: weight} with weights above 0"
)


def as_manifest(mixture: str | Path | Manifest | Sequence[str] | Mapping[str, float]) -> Manifest:
    """Make a manifest of what a Python caller gives: a path or name of a manifest, sources, or sources with weights.

    A single name is a manifest that comes with the package or, if there is none of this name, a source.

    Assumes: names without weights are drawn in proportion to their windows, so that each window is seen as often.

    Raises:
        ManifestError: the file cannot be read, no source is named, or a weight is not above 0.
    """
    if isinstance(mixture, Manifest):
        return mixture
    if not isinstance(mixture, str | Path | Mapping | Sequence):
        raise ManifestError(f"mixture {mixture!r}: {_MIXTURE}")
    if isinstance(mixture, str) and mixture.isidentifier() and find_manifest(mixture) is None:
        mixture = [mixture]
    if isinstance(mixture, str | Path):
        return load_manifest(expand_home(str(mixture)))
    given: Sequence[object] = list(mixture)  # a caller's values need not have the annotated types
    names = all(isinstance(name, str) and "/" not in name for name in given)
    if names and len(set(given)) < len(given):
        raise ManifestError(f"mixture {mixture!r}: expected each source once; to draw one more often, give weights")
    weights = mixture if isinstance(mixture, Mapping) else dict.fromkeys(mixture, 1.0)
    wrong = [(name, weight) for name, weight in weights.items() if not (is_finite(weight) and weight > 0)]
    if not weights or not names or wrong:
        found = f"; found {wrong[0][1]!r} for {wrong[0][0]!r}" if wrong else ""
        raise ManifestError(f"mixture {mixture!r}: {_MIXTURE}{found}")
    entries = tuple(MixtureEntry(source=name, weight=float(weight)) for name, weight in weights.items())
    basis = Basis.WEIGHT if isinstance(mixture, Mapping) else Basis.WINDOWS
    return Manifest(name=UNNAMED, path=UNNAMED, entries=entries, basis=basis)


def near_manifest(manifest: Manifest) -> str:
    """Name the manifest that a caller may have meant by a single name, which was taken for a source; empty if none."""
    if manifest.path != UNNAMED or len(manifest.entries) > 1:
        return ""
    near = did_you_mean(manifest.entries[0].source, MANIFESTS.names())
    return near and near.replace("mean", "mean the manifest")


def find_manifest(text: str | Path) -> Path | None:
    """Find a manifest by its path or, if there is no such file, by the name of one that comes with the package."""
    return Path(text) if Path(text).is_file() else MANIFESTS.find(str(text))


def _advice_for(folder: Path) -> str:
    """Advise what to give in place of a folder: a manifest in it, or the name of the source that it is."""
    from vita_data.shards.index import is_built  # not needed to read a manifest

    if is_built(folder):
        return f"; this is a built source: give its name, {folder.name!r}, with {folder.parent} as the folder of shards"
    return advice([str(file) for file in sorted(folder.glob("*.toml"))])


def load_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest, given by its path or by its name (`find_manifest`).

    Raises:
        ManifestError: the file is missing or not TOML, or a table or key in it is wrong; names file, table, key and
            the value found.
        StorageError: it is a pipe, a device or far too long.
    """
    path = find_manifest(path) or path
    place = f"manifest {path}"
    if Path(path).is_dir():
        raise ManifestError(f"{place}: is a folder, expected a TOML file{_advice_for(Path(path))}")
    try:
        top = _Table(place, tomllib.loads(read_files([Path(path)])[0].decode()))
    except FileNotFoundError as error:
        hint = near_name(Path(path)) or MANIFESTS.hint(str(path))
        raise ManifestError(f"{place}: the file does not exist{hint}") from error
    except PermissionError as error:
        raise ManifestError(forbidden(f"manifest {path}", error.errno)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{place}: cannot be read ({error})") from error
    except ValueError as error:
        raise ManifestError(f"{place}: is not valid TOML ({error})") from error
    except RecursionError:
        raise ManifestError(f"{place}: is not valid TOML (nested too deeply)") from None
    top.only(_TOP_KEYS)
    if top.values.get("schema_version") != SCHEMA_VERSION or top.values.get("schema_version") is True:
        raise top.fault("schema_version", f"{SCHEMA_VERSION}, the only version this program reads")
    repeats = "max_repeats_per_100k_steps"
    return Manifest(
        name=_name(top), entries=_entries(top, Path(path).parent), path=str(path),
        basis=top.choice("basis", Basis.WEIGHT), temperature=top.number("temperature", 1.0),
        max_repeats_per_100k_steps=top.number(repeats) if repeats in top.values else None,
    )  # fmt: skip


def _name(top: _Table) -> str:
    name = top.text("name")
    if not name.replace("-", "_").isidentifier():
        # The lock file is named after it.
        raise top.fault("name", "letters, digits, `_` and `-`, as in a file name")
    return name


def _entries(top: _Table, folder: Path) -> tuple[MixtureEntry, ...]:
    tables = top.values.get("sources")
    if not isinstance(tables, list) or not tables:
        raise top.fault("sources", "at least one [[sources]] table")
    entries: dict[tuple[str, ...], int] = {}
    made: list[MixtureEntry] = []
    for number, values in enumerate(tables, start=1):
        if not isinstance(values, dict):
            raise top.fault("sources", "[[sources]] tables")
        entry = _entry(_Table(f"{top.place}, [[sources]] table {number}", values), folder)
        where = entry.condition or str(dict(sorted(entry.where.items())))
        identity = (entry.source, str(entry.split), where)
        if identity in entries:
            raise ManifestError(
                f"{top.place}, [[sources]] table {number}: source {entry.source!r} with split {entry.split} and "
                f"where {where} is already in table {entries[identity]}; keep one and add the weights"
            )
        entries[identity] = number
        made.append(entry)
    return tuple(made)


def _entry(table: _Table, folder: Path) -> MixtureEntry:
    table.only(_SOURCE_KEYS)
    name = table.text("source")
    if not name.isidentifier():
        raise table.fault("source", "the name of a source (`vita-data sources` lists them), not a path")
    condition, where = "", table.values.get("where", {})
    if isinstance(where, str):
        condition, where = table.text("where"), {}
    if not isinstance(where, Mapping):
        raise table.fault("where", 'a table such as {suite = "libero_10"} or a condition such as "length_s > 3"')
    conditions = _Table(f"{table.place}, where", where)
    conditions.only(_WHERE_KEYS)
    exclude = expand_home(table.text("exclude")) if "exclude" in table.values else ""
    return MixtureEntry(
        source=name, weight=table.number("weight"), split=table.choice("split", Split.TRAIN),
        note=table.text("note", ""), where={key: conditions.text(key) for key in where},
        fraction=table.number("fraction", 1.0, most=1.0), condition=condition,
        exclude=exclude and str(folder / exclude),
    )  # fmt: skip
