"""A film of every episode, and a page that shows them all.

DIR/videos/TASK-NUMBER.mp4, DIR/videos/index.html
"""

import html
from collections.abc import Sequence
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
<p>{count}. A green frame at the end: solved; a red one: not solved within the limit.</p>
<main>
{figures}
</main>
"""
_FIGURE = """<figure><video src="{file}" controls muted loop preload="metadata"></video>
<figcaption>{name}</figcaption></figure>"""


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
        write_film(self.folder / f"{group}-{number:03d}.mp4", [(success, images)], hz=self.hz, size=256)

    def write_page(self, title: str) -> Path:
        """Write the page of all films in the folder, those of an interrupted evaluation included."""
        names = sorted(path.name for path in self.folder.glob("*.mp4"))
        figures = "\n".join(
            _FIGURE.format(file=html.escape(name), name=html.escape(name.removesuffix(".mp4"))) for name in names
        )
        count = "1 episode" if len(names) == 1 else f"{len(names):,} episodes"
        page = self.folder / "index.html"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(page, _PAGE.format(title=html.escape(title), count=count, figures=figures).encode())
        return page
