"""The normal form of an instruction, used in shards and in requests to a policy."""

import re
import unicodedata
from functools import lru_cache

# Robots get the same few sentences again and again.
_NUM_KEPT = 1024
_QUOTE_PAIRS = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
# CJK punctuation has no compatibility form, so NFKC leaves it: stops, brackets, quotes, wave dash
_CJK_TO_ASCII = str.maketrans(
    {"\u3001": ",", "\u3002": ".", "\u301c": "~"}
    | dict.fromkeys("\u300c\u300d\u300e\u300f\u301d\u301e\u301f", '"')
    | dict.fromkeys("\u3008\u300a", "<")
    | dict.fromkeys("\u3009\u300b", ">")
    | dict.fromkeys("\u3010\u3014\u3016\u3018\u301a", "[")
    | dict.fromkeys("\u3011\u3015\u3017\u3019\u301b", "]")
)
# control characters, format characters (zero-width, byte order mark, bidi, soft hyphen), halves of surrogate pairs
_INVISIBLE = frozenset(("Cc", "Cf", "Cs"))
# results of `str()` and `repr()` for bytes, for arrays of one bytes element, and for NumPy or TensorFlow scalars;
# optionally in quotes
_BYTES_REPR = re.compile(
    r"""(?: ["'] | \[ | \( | (?:np\.bytes_|array|tf\.Tensor)\(\[? | <tf\.Tensor:.*\ numpy= )?
        b (?: '((?:[^'\\]|\\.)*)' | "((?:[^"\\]|\\.)*)" )
        (?: ["'] | \] | > | ,?\) | \]?,\ .*\) )?""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


@lru_cache(maxsize=_NUM_KEPT)
def normalize_text(text: str) -> str:
    """Bring a text to its normal form.

    NFKC, ASCII punctuation, single spaces, no invisible characters, no quotes around the whole text. A text that is the
    `repr` of bytes (`b'put the cup'`, as some conversions of RLDS and HDF5 store it) is replaced by the text of the
    bytes.
    """
    folded = _fold(text)
    while (inner := _unwrap(folded)) is not None:
        folded = _fold(inner)
    return folded


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).translate(_CJK_TO_ASCII)
    if not text.isprintable():
        text = "".join(char for char in text if char.isspace() or unicodedata.category(char) not in _INVISIBLE)
    return " ".join(text.split())


def _unwrap(text: str) -> str | None:
    """Remove one layer around the whole text: a pair of quotes or the `repr` of bytes; None if it has neither."""
    if found := _BYTES_REPR.fullmatch(text):
        return _ESCAPE.sub(_unescape, (found[1] or found[2] or "").encode()).decode(errors="replace")
    return text[1:-1] if _is_quoted(text) else None


def _unescape(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return bytes((int(code[1:], 16),)) if len(code) > 1 else _ESCAPED.get(code, found[0])


def _is_quoted(text: str) -> bool:
    """Tell whether one pair of quotes encloses the whole text: `'cup' and 'bowl'` contains two pairs."""
    if len(text) < 2 or _QUOTE_PAIRS.get(text[0]) != text[-1]:
        return False
    return text[0] not in text[1:-1] and text[-1] not in text[1:-1]
