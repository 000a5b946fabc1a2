"""A film of every episode, and a page that shows them all.

DIR/videos/TASK-NUMBER.mp4, DIR/videos/index.html
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vita_data.storage.files import write_atomically
from vita_data.types import Image
from vita_model.sims.results.film import write_film

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 1240px; margin: 0 auto; padding: 1rem 1.5rem }}
h1 {{ font-size: 1.7rem; margin: 1rem 0 .2rem }} p {{ color: #4a5565; margin: .3rem 0 1rem }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(256px, 100%), 1fr)); gap: 1em }}
video {{ width: 100%; max-width: 400px }} figure {{ margin: 0 }}
figcaption {{ font-size: small; overflow-wrap: anywhere }}
</style>
<h1>{title}</h1>
<p>{count} A green frame at the end: solved; a red one: not solved within the limit.</p>
<main>
{figures}
</main>
"""
_FIGURE = """<figure><video src="{file}" controls muted loop preload="metadata"></video>
<figcaption>{name}{end}</figcaption></figure>"""
_END = {True: ": solved", False: ": not solved", None: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Videos:
    """Where films are written; several processes may write episodes at once."""

    folder: Path
    hz: int
    """Steps per second."""

    def wants(self, group: str, number: int) -> bool:
        """Tell whether every step of an episode is shown: all have a film."""
        return True

    def write(self, group: str, number: int, images: Sequence[Image], *, success: bool) -> None:
        """Write the film of one episode, an image for each step.

        Raises:
            VitaDataError: the file cannot be written.
        """
        write_film(self.folder / f"{_name(group, number)}.mp4", [(success, images)], hz=self.hz, size=256)

    def write_page(self, title: str, solved: Mapping[tuple[str, int], bool]) -> Path:
        """Write the page of all films in the folder, those of an interrupted evaluation included.

        `solved` tells by task and number how episodes ended; nothing is said of others.
        """
        ends = {_name(*episode): success for episode, success in solved.items()}
        names = sorted(path.stem for path in self.folder.glob("*.mp4"))
        figures = "\n".join(
            _FIGURE.format(file=html.escape(f"{name}.mp4"), name=html.escape(name), end=_END[ends.get(name)])
            for name in names
        )
        count = _count([ends.get(name) for name in names])
        page = self.folder / "index.html"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(page, _PAGE.format(title=html.escape(title), count=count, figures=figures).encode())
        return page


def _name(group: str, number: int) -> str:
    return f"{group}-{number:03d}"


def _count(ends: Sequence[bool | None]) -> str:
    """Count the episodes and, of those whose end is known, the solved ones."""
    total = "1 episode" if len(ends) == 1 else f"{len(ends):,} episodes"
    known = [end for end in ends if end is not None]
    if not known:
        return f"{total}."
    rest = "" if len(known) == len(ends) else f" The end of {len(ends) - len(known):,} is not known."
    return f"{total}, {sum(known):,} of {len(known):,} solved.{rest}"
