"""The card of an export: a README with the licence, in the form that the Hugging Face hub reads."""

from collections.abc import Sequence

from vita_data import __version__
from vita_data.export.opened import OpenedSource

_HUB_LICENCES = {"cc by 4.0": "cc-by-4.0", "cc by 4.0 (data), mit (code)": "cc-by-4.0", "apache-2.0": "apache-2.0",
                 "mit": "mit"}  # fmt: skip
"""What the hub calls a licence; every other one is `other`, with its own name."""


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
