"""Headless Chromium by its command line: what pages say on the console, how they are laid out, and what is drawn.

Pages stay as they are: a page is measured inside a frame of a test's own page, which alone holds a script.
"""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np

from vita_data.types import Image

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--force-device-scale-factor=1", "--enable-logging=stderr", "--v=0",
)  # fmt: skip
# A guard against a browser that hangs, and no statement on its speed.
_PATIENCE_S = 300

_MEASURE = """
const box = (element) => { const b = element.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; };
const inside = (a, b) => a[0] >= b[0] - 1 && a[1] >= b[1] - 1 &&
  a[0] + a[2] <= b[0] + b[2] + 1 && a[1] + a[3] <= b[1] + b[3] + 1;
const across = (a, b) => Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]) > 1 &&
  Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]) > 1;
function decodes(element) {
  // Drawing decodes at once, where decode() would answer at some later time; a picture of one colour shows nothing.
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [element.naturalWidth, element.naturalHeight];
  try { pen.drawImage(element, 0, 0); } catch { return false; }
  const pixels = canvas.width && pen.getImageData(0, 0, canvas.width, canvas.height).data;
  return Boolean(pixels) && pixels.some((value, at) => value != pixels[at % 4]);
}
function image(element) {
  const decoded = decodes(element);
  return {alt: element.alt, decoded, natural: [element.naturalWidth, element.naturalHeight], box: box(element)};
}
function drawing(svg) {
  const texts = [...svg.querySelectorAll("text")], boxes = texts.map(box);
  const zoom = box(svg)[2] / svg.viewBox.baseVal.width;
  const marks = [...svg.querySelectorAll("path[stroke-width], rect[fill]")].filter((mark) => {
    const b = box(mark);
    return inside(b, box(svg)) && b[2] + b[3] > 0 && getComputedStyle(mark).visibility == "visible";
  });
  return {
    label: svg.getAttribute("aria-label"), box: box(svg), marks: marks.length,
    cut: texts.filter((_, at) => !inside(boxes[at], box(svg))).map((t) => t.textContent),
    crossing: texts.flatMap((t, at) => texts.slice(at + 1).filter((_, k) => across(boxes[at], boxes[at + 1 + k]))
      .map((other) => t.textContent + " | " + other.textContent)),
    letters_px: texts.map((t) => parseFloat(getComputedStyle(t).fontSize) * zoom),
  };
}
function look(frame) {
  const page = frame.contentDocument, root = page.documentElement, walk = page.createTreeWalker(page.body, 4);
  const letters = [], height = root.scrollHeight;
  while (walk.nextNode()) {
    const parent = walk.currentNode.parentElement;
    if (walk.currentNode.data.trim() && !parent.closest("svg"))
      letters.push(parseFloat(frame.contentWindow.getComputedStyle(parent).fontSize));
  }
  // What is folded is measured where it appears when unfolded, the rest where the page shows it at first.
  const folded = new Set(page.querySelectorAll("details:not([open]) *"));
  const images = [...page.images], drawings = [...page.querySelectorAll("svg[role=img]")];
  const seen = new Map([...images.map((one) => [one, image]), ...drawings.map((one) => [one, drawing])]);
  const told = new Map();
  for (const [one, measure] of seen) if (!folded.has(one)) told.set(one, measure(one));
  for (const one of page.querySelectorAll("details")) one.open = true;
  for (const [one, measure] of seen) if (folded.has(one)) told.set(one, measure(one));
  return {
    width: frame.contentWindow.innerWidth, scroll_width: root.scrollWidth, client_width: root.clientWidth,
    height, letters_px: letters,
    images: images.map((one) => told.get(one)), drawings: drawings.map((one) => told.get(one)),
    scrolling: [...page.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth)
      .map((one) => `${one.scrollWidth} px in ${one.clientWidth}: ${one.textContent.slice(0, 80)}`),
  };
}
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(look);
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = encodeURIComponent(JSON.stringify(found));
  document.body.append(result);
});
"""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    alt: str
    decoded: bool
    natural: tuple[int, int]
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDrawing:
    """A chart: its visible marks, the texts that its edge cuts, pairs of texts that lie across one another."""

    label: str
    box: Box
    marks: int
    cut: list[str]
    crossing: list[str]
    letters_px: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPage:
    width: int
    scroll_width: int
    client_width: int
    height: int
    letters_px: list[float]
    images: list[ShownImage]
    drawings: list[ShownDrawing]
    scrolling: list[str]
    """Tables that can be seen only in part."""


def find_browser() -> str | None:
    """The browser's program, from VITA_CHROMIUM or the path."""
    asked = os.environ.get("VITA_CHROMIUM")
    return shutil.which(asked) if asked else next(filter(None, map(shutil.which, _NAMES)), None)


@dataclass(frozen=True, slots=True)
class Browser:
    program: str
    folder: Path
    """Scratch space."""

    def console(self, page: Path) -> list[str]:
        """What a page has the browser say: errors, warnings, blocked addresses."""
        return self._run(page, "--dump-dom")[1]

    def measure(self, pages: Sequence[Path], *, widths: Sequence[int]) -> dict[tuple[Path, int], ShownPage]:
        """Lay each page out in a frame of each width."""
        asked = [(page, width) for page in pages for width in widths]
        frames = [
            f'<iframe width="{width}" height="1000" style="border:0" srcdoc="{html.escape(page.read_text())}"></iframe>'
            for page, width in asked
        ]
        wrapper = self.folder / "measure.html"
        wrapper.write_text(
            f"<!doctype html><meta charset=utf-8><script>{_MEASURE}</script><body>{''.join(frames)}</body>"
        )
        dump, said = self._run(wrapper, "--dump-dom")
        assert said == []
        result = re.search(r'<pre id="result">(.*?)</pre>', dump)
        assert result is not None, dump[-2000:]
        found = json.loads(unquote(result[1]))
        return {key: _shown(value) for key, value in zip(asked, found, strict=True)}

    def screenshot(self, page: Path, *, width: int, height: int) -> Image:
        """Draw a page from its top, uint8 [height, width, 3] RGB."""
        picture = self.folder / f"{page.stem}-{width}.png"
        _, said = self._run(page, f"--screenshot={picture}", f"--window-size={width},{height}")
        assert said == []
        return np.ascontiguousarray(cv2.imread(str(picture))[..., ::-1])

    def _run(self, page: Path, *flags: str) -> tuple[str, list[str]]:
        profile = self.folder / "profile"
        command = [self.program, *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def _shown(value: dict[str, object]) -> ShownPage:
    images, drawings = value.pop("images"), value.pop("drawings")
    assert isinstance(images, list)
    assert isinstance(drawings, list)
    return ShownPage(
        images=[ShownImage(**image) for image in images],
        drawings=[ShownDrawing(**drawing) for drawing in drawings],
        **value,  # type: ignore[arg-type]
    )
