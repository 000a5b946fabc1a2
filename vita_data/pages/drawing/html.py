"""Parts of a self-contained HTML page: escaped text, elements, tables, contact sheets and the page around them.

A page contains everything it shows: it needs no script, font or network access, and its policy forbids them. Only
`text` turns a string into markup, so that nothing from a dataset can become an element.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NewType

Markup = NewType("Markup", str)
"""HTML that is safe in a page: made by this package, with every foreign string escaped."""

Cell = str | int | float | None

_PROSE_SPACES = 3
_VOID = frozenset({"img", "meta"})
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 1240px; margin: 0 auto;
  padding: 1rem 1.5rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 1rem 0 .2rem; } h2 { font-size: 1.3rem; margin: 2.4rem 0 .2rem;
  border-top: 1px solid #d5dae1; padding-top: 1.2rem; } h3 { font-size: 1.05rem; margin: 1.4rem 0 .2rem; }
p { max-width: 80ch; margin: .3rem 0 .8rem; } nav a { display: inline-block; margin-right: 1.1rem; padding: .15rem 0; }
.explain { color: #4a5565; }
.warning { background: #fff4e0; border-left: 4px solid #d98200; padding: .5rem .8rem; }
.scroll { overflow-x: auto; margin: .4rem 0 1rem; background:
  linear-gradient(to left, #fff 40%, transparent) right / 40px 100% no-repeat local,
  linear-gradient(to left, #0003, transparent) right / 12px 100% no-repeat scroll; }
table { width: max-content; max-width: 100%; border-collapse: separate; border-spacing: 0; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; max-width: 22rem; padding: .3rem .7rem;
  border-bottom: 1px solid #e3e7ec; white-space: pre-line; overflow-wrap: break-word; }
thead th { background: #f2f5f8; } tbody th { font-weight: 600; } table .number { text-align: right;
  font-variant-numeric: tabular-nums; }
td.prose { min-width: 6rem; }
tbody th { position: sticky; left: 0; background: #fff; }
.facts table { width: auto; } .facts td { max-width: 52rem; } .facts th { overflow-wrap: normal; }
.facts .number { text-align: left; }
.sheet { display: flex; flex-wrap: wrap; gap: .6rem; margin: .4rem 0 1rem; } .sheet figure { width: 130px; }
.sheets { display: flex; flex-wrap: wrap; column-gap: 2.4rem; } .sheets > div { max-width: 100%; }
.threes > div { width: 376px; } .threes p { font-size: .8rem; line-height: 1.3; } .threes .sheet { flex-wrap: nowrap; }
code { font-size: .9em; background: #f2f5f8; border-radius: 4px; padding: .1rem .3rem; }
details { margin: .4rem 0 1rem; } summary { cursor: pointer; padding: .2rem 0; color: #0b5cad; }
figure { margin: 0; min-width: 0; } .sheet figcaption { font-size: .8rem; line-height: 1.3; color: #4a5565; }
.sheet img { display: block; width: 100%; aspect-ratio: 1; box-sizing: border-box; border: 1px solid #d5dae1; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 1rem;
  margin: .4rem 0 1rem; }
.charts svg { width: 100%; height: auto; display: block; } .charts figcaption { font-weight: 600; font-size: .9rem; }
.legend { font-size: .8rem; } .legend span { display: inline-block; margin-right: .9rem; }
.legend svg { display: inline; width: 22px; height: 8px; margin-right: .3rem; }
video { max-width: 100%; height: auto; display: block; margin: .4rem 0 1rem; }
.picture img { max-width: 100%; max-height: 440px; border: 1px solid #d5dae1; }
@media (max-width: 600px) {
  body { padding: .5rem .8rem 3rem; } table { max-width: none; } th, td { max-width: 15rem; padding: .3rem .5rem; }
  .facts table { max-width: 100%; } .facts td { overflow-wrap: anywhere; }
  tbody th { max-width: 10rem; } nav a { padding: .3rem 0; }
  .sheet { gap: .4rem; } .sheets > div { width: 100%; }
  .sheet figure { width: calc((100% - .8rem) / 3); }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A JPEG and its caption."""

    jpeg: bytes
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first column names the row, numbers are right-aligned, None is a dash."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page: title, one sentence on how to read it, and content."""

    title: str
    explanation: str
    body: Markup


def text(value: str) -> Markup:
    """Escape a string."""
    return Markup(escape(value, quote=True))


def join(parts: Iterable[Markup]) -> Markup:
    """Concatenate pieces."""
    return Markup("".join(parts))


def element(name: str, /, *children: Markup, **attributes: str) -> Markup:
    """Make an element; `class_` is `class`, other underscores in attribute names are hyphens."""
    shown = "".join(f' {_attribute(key)}="{escape(value, quote=True)}"' for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def paragraph(words: str, *, css: str = "") -> Markup:
    """Make a paragraph of plain words."""
    return element("p", text(words), class_=css) if css else element("p", text(words))


def table(content: Table) -> Markup:
    """Draw a table that scrolls sideways in a narrow window."""
    numeric = [_is_numeric([row[column] for row in content.rows]) for column in range(len(content.header))]
    headings = (
        element("th", text(name), scope="col", **_aligned(right=right and at > 0))
        for at, (name, right) in enumerate(zip(content.header, numeric, strict=True))
    )
    head = element("thead", element("tr", *headings))
    body = element("tbody", *(_row(row, numeric) for row in content.rows))
    return element("div", element("table", head, body), class_="scroll")


def facts(pairs: Iterable[tuple[str, Cell]]) -> Markup:
    """Draw a table with one row per fact; long values wrap and never scroll."""
    return element("div", table(Table(header=("fact", "value"), rows=tuple(pairs))), class_="facts")


def number(value: float) -> str:
    """Format a number: large and whole ones in groups of three digits, others with four digits."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def picture(content: Picture) -> Markup:
    """Embed a JPEG with its caption."""
    data = f"data:image/jpeg;base64,{base64.b64encode(content.jpeg).decode('ascii')}"
    image = element("img", src=data, alt=content.caption)
    return element("figure", image, element("figcaption", text(content.caption)))


def film(mp4: bytes, caption: str) -> Markup:
    """Embed a film that plays by itself, again and again, without sound."""
    data = f"data:video/mp4;base64,{base64.b64encode(mp4).decode('ascii')}"
    return element("video", src=data, title=caption, autoplay="", loop="", muted="", playsinline="", controls="")


def contact_sheet(pictures: Iterable[Picture]) -> Markup:
    """Put small pictures side by side."""
    return element("div", *(picture(content) for content in pictures), class_="sheet")


def camera_sheets(sheets: Iterable[tuple[str, Sequence[Picture]]], *, in_threes: bool = False) -> Markup:
    """Put several contact sheets, each under its words, side by side where there is room.

    Sheets of three pictures (`in_threes`) are one row each, however long the words are.
    """
    parts = (element("div", paragraph(words, css="explain"), contact_sheet(pictures)) for words, pictures in sheets)
    return element("div", *parts, class_="sheets threes" if in_threes else "sheets")


def advice(words: str, command: str) -> Markup:
    """Make a paragraph that ends with a command to type."""
    return element("p", text(f"{words} "), element("code", text(command)), class_="explain")


def folded(words: str, *parts: Markup) -> Markup:
    """Hide details that few readers need behind a line; a click on it shows them, without a script."""
    return element("details", element("summary", text(words)), *parts)


def side_by_side(drawings: Iterable[Markup]) -> Markup:
    """Put drawings side by side, or below one another in a narrow window."""
    return element("div", *drawings, class_="charts")


def page(
    title: str,
    introduction: str,
    sections: Sequence[Section],
    *,
    warnings: Sequence[str] = (),
    links: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a whole page: title, warnings, links (words, address) to other pages and to the sections, the sections."""
    numbered = [(f"section-{number}", section) for number, section in enumerate(sections, 1)]
    targets = [*links, *((section.title, f"#{id_}") for id_, section in numbered)]
    navigation = element("nav", *(element("a", text(words), href=address) for words, address in targets))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", text(title)),
        element("style", Markup(_STYLE)),
    )
    body = element(
        "body",
        element("h1", text(title)),
        paragraph(introduction, css="explain"),
        *(paragraph(warning, css="warning") for warning in warnings),
        navigation,
        *(_section(id_, section) for id_, section in numbered),
    )
    whole = "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"
    # Half of a surrogate pair, which a text of a dataset may contain, cannot be written to a file.
    return whole.encode(errors="backslashreplace").decode()


def _section(id_: str, section: Section) -> Markup:
    title = element("h2", text(section.title))
    return element("section", title, paragraph(section.explanation, css="explain"), section.body, id=id_)


def _row(row: tuple[Cell, ...], numeric: Sequence[bool]) -> Markup:
    cells = [element("th", _cell(row[0]), scope="row")] if row else []
    for value, right in zip(row[1:], numeric[1:], strict=True):
        cells.append(element("td", _cell(value), **_styled(value, right=right)))
    return element("tr", *cells)


def _styled(value: Cell, *, right: bool) -> dict[str, str]:
    """Keep a sentence from being squeezed into a word a line by long names beside it."""
    is_prose = isinstance(value, str) and value.count(" ") >= _PROSE_SPACES
    return {"class_": "prose"} if is_prose else _aligned(right=right or isinstance(value, int | float))


def _is_numeric(column: Sequence[Cell]) -> bool:
    """Tell whether a column contains only numbers or None."""
    values = [value for value in column if value is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _aligned(*, right: bool) -> dict[str, str]:
    return {"class_": "number"} if right else {}


def _cell(value: Cell) -> Markup:
    if value is None:
        return text("–")  # noqa: RUF001 - a dash is what readers know for "nothing"
    return text(value if isinstance(value, str) else number(value))


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")
