"""The pieces of a page: nothing foreign becomes an element, nothing is asked for from outside."""

from hypothesis import given
from hypothesis import strategies as st

from tests.vita_data.pages.page_parser import PageParser
from vita_data.pages.drawing.html import Section, Table, element, page, table, text


def whole(body: str, title: str = "t") -> PageParser:
    return PageParser(page(title, body, [Section(title=body, explanation=body, body=text(body))], warnings=[body]))


@given(st.text(alphabet="<>&\"'/=ab \n", max_size=40))
def test_any_text_comes_back_unchanged_and_adds_no_element(words: str) -> None:
    plain, parsed = whole("plain"), whole(words)
    assert parsed.faults == []
    assert [name for name, _ in parsed.elements] == [name for name, _ in plain.elements]
    assert "".join(parsed.texts).count(words) >= 5 * bool(words)


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    parsed = PageParser(element("p", text("x"), class_='a" onclick="b', aria_label="c"))
    assert parsed.elements == [("p", {"class": 'a" onclick="b', "aria-label": "c"})]


def test_table_cells_show_numbers_in_groups_and_nothing_as_a_dash() -> None:
    content = Table(header=("name", "n", "x", "none"), rows=(("row", 1234567, 0.000123456, None),))
    parsed = PageParser(table(content))
    assert parsed.rows[1] == ["row", "1,234,567", "0.0001235", "–"]
    assert [cell.get("class") for cell in parsed.named("td")] == ["number", "number", None]


def test_page_forbids_whatever_comes_from_outside() -> None:
    policy = next(meta["content"] for meta in whole("x").named("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def test_half_a_surrogate_does_not_keep_a_page_from_being_written() -> None:
    assert "\\ud800" in page("\ud800", "i", []).encode().decode()


def test_every_link_leads_to_a_section() -> None:
    parsed = PageParser(page("t", "i", [Section(title=f"s{i}", explanation="", body=text("")) for i in range(3)]))
    assert [f"#{attributes['id']}" for attributes in parsed.named("section")] == [
        attributes["href"] for attributes in parsed.named("a")
    ]


def test_a_sentence_in_a_table_keeps_a_least_width_and_numbers_their_side() -> None:
    shown = table(Table(header=("id", "text", "n"), rows=(("a", "put the red cup on the shelf", 1), ("b", "none", 2))))
    assert '<td class="prose">put the red cup on the shelf</td><td class="number">1</td>' in shown
    assert "<td>none</td>" in shown
