"""Parses a page as a browser would and keeps what tests look at: elements, texts, images, faults of nesting."""

import base64
from html.parser import HTMLParser

VOID = {"meta", "img"}


class PageParser(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        self.faults += [f"<{name}> is never closed" for name in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.texts.append(data)
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def images(self) -> list[bytes]:
        head = "data:image/jpeg;base64,"
        sources = [attributes["src"] or "" for name, attributes in self.elements if name == "img"]
        assert all(source.startswith(head) for source in sources)
        return [base64.b64decode(source.removeprefix(head), validate=True) for source in sources]

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]

    def fact(self, name: str) -> str:
        return next(row[1] for row in self.rows if row[0] == name)
