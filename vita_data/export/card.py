"""The card of an export: a README with the licence, in the form that the hub reads, and a note of facts."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vita_data import __version__
from vita_data.errors import RequestError
from vita_data.export.opened import OpenedSource

_HUB_LICENCES = {"cc by 4.0": "cc-by-4.0", "cc by 4.0 (data), mit (code)": "cc-by-4.0", "apache-2.0": "apache-2.0",
                 "mit": "mit"}  # fmt: skip
"""What the hub calls a licence; every other one is `other`, with its own name."""


NOTE = "vita_export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportNote:
    """What programs need to know of an export: `vita_export.json`."""

    source: str
    format: str
    """lerobot or parquet."""
    licence: str
    redistributable: bool
    version: str = __version__


def write_card(folder: Path, card: str, note: ExportNote) -> None:
    """Write the card and the note."""
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / NOTE).write_text(json.dumps(asdict(note), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_note(folder: Path) -> ExportNote:
    """Read the note of an export.

    Raises:
        RequestError: the folder is no export, or its note is damaged.
    """
    try:
        return ExportNote(**json.loads((folder / NOTE).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(f"{folder}: {NOTE} is missing; give a folder that `vita-data export --out` wrote") from None
    except (ValueError, TypeError) as error:
        raise RequestError(f"{folder / NOTE}: expected the note of an export, got {error}; export again") from error


def card_text(source: OpenedSource, *, tags: Sequence[str], files: Sequence[tuple[str, str]], about: str) -> str:
    """Write the card.

    Args:
        source: the built source.
        tags: words by which the hub finds it.
        files: the splits and the patterns of their data files.
        about: what the folder holds and what its columns mean.
    """
    known = _HUB_LICENCES.get(source.licence.lower())
    licence = [f"license: {known}"] if known else ["license: other", f"license_name: {_quoted(source.licence)}"]
    named = [line for split, path in files for line in (f"  - split: {split}", f"    path: {_quoted(path)}")]
    head = [*licence, "task_categories:", "- robotics", "tags:", *(f"- {tag}" for tag in tags), "configs:"]
    head += ["- config_name: default", "  data_files:", *named]
    forbidden = (
        "" if source.redistributable else "\n**This data must not be passed on: its licence forbids redistribution.**\n"
    )
    releases = f" (release: {', '.join(source.releases)})" if source.releases else ""
    return "\n".join(
        [
            "---",
            *head,
            "---",
            "",
            f"# {source.title}",
            forbidden,
            f"Source: {source.url}{releases}. Licence: {source.licence}.",
            "The images were resized to 256x256, and the vectors brought to one convention; the licence is that of "
            "the original.",
            f"Exported by vita-data {__version__}.",
            "",
            about,
            "",
        ]
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
