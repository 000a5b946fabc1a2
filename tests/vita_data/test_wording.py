"""The normal form of an instruction changes what writes the same thing otherwise, and nothing else."""

import pytest

from vita_data.wording import normalize_text


def test_normal_form_is_nfkc_one_space_no_quotes() -> None:
    assert normalize_text('  "Put\u3000the  ｃｕｐ， down" ') == "Put the cup, down"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("put the cup\u3001then the pot down\u3002", "put the cup,then the pot down."),
        ("\u300cput the cup down\u300d", "put the cup down"),
        ("\u300eput the cup down\u300f", "put the cup down"),
        ("put \u300ctea\u300d and \u300ecoffee\u300f down", 'put "tea" and "coffee" down'),
        ("\u3010none\u3011", "[none]"),
        ("\u3014a\u3015 \u300ab\u300b 3\u301c4", "[a] <b> 3~4"),
    ],
)
def test_full_width_punctuation_becomes_ascii(raw: str, clean: str) -> None:
    assert normalize_text(raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("'put the cup down'", "put the cup down"),
        ("\u201cput the cup down\u201d", "put the cup down"),
        ("\"'put the cup down'\"", "put the cup down"),
        ("'cup' goes on 'plate'", "'cup' goes on 'plate'"),
        ("\u201ccup\u201d goes on \u201cplate\u201d", "\u201ccup\u201d goes on \u201cplate\u201d"),
        ("\"put the cup down'", "\"put the cup down'"),
        ("\u201dput the cup down\u201c", "\u201dput the cup down\u201c"),
        ('put the cup on "plate"', 'put the cup on "plate"'),
        ('"', '"'),
    ],
)
def test_quotes_go_only_where_one_pair_is_around_the_whole(raw: str, clean: str) -> None:
    assert normalize_text(raw) == clean
