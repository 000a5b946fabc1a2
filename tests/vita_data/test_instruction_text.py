"""The normal form of an instruction changes what writes the same thing otherwise, and nothing else."""

import pytest

from vita_data.instruction_text import normalize_text


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
        ("\ufeffput the cup down", "put the cup down"),
        ("put\u200b the \u202ecup\u202c down\x00\x7f", "put the cup down"),
        ("put\tthe\r\ncup\x85down", "put the cup down"),
        ("pick\u00adup the\ud83d cup", "pickup the cup"),
        ("\u2060\x00", ""),
        ("\u200b'put the cup down'\x00", "put the cup down"),
    ],
)
def test_characters_that_nobody_sees_go_and_white_space_is_one_space(raw: str, clean: str) -> None:
    assert normalize_text(raw) == clean


@pytest.mark.parametrize(
    "raw",
    [
        b"put the cup down",
        b"it's the cup",
        b'the "cup" is put down',
        b'it\'s the "cup"',
        b"a\tcup\nis put down\\",
        "put the crème down".encode(),
        b"cut off \xff here",
    ],
)
@pytest.mark.parametrize(
    "form",
    ["{!r}", " {!r}\n", '"{!r}"', "[{!r}]", "({!r},)", "np.bytes_({!r})", "array([{!r}], dtype='|S16')",
     "tf.Tensor({!r}, shape=(), dtype=string)", "<tf.Tensor: shape=(), dtype=string, numpy={!r}>"],
)  # fmt: skip
def test_the_repr_of_bytes_becomes_the_text_that_they_hold(raw: bytes, form: str) -> None:
    assert normalize_text(form.format(raw)) == " ".join(raw.decode(errors="replace").split())


@pytest.mark.parametrize("text", ["b'cup' and b'bowl'", "put b'cup' down", "b'put the cup down", "b 'cup'", "blob"])
def test_what_only_looks_like_the_repr_of_bytes_stays(text: str) -> None:
    assert normalize_text(text) == text


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
