"""The one normal form of an instruction: shards hold it, and a policy is asked in it."""

import unicodedata
from functools import lru_cache

# Robots are told the same few sentences again and again.
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


@lru_cache(maxsize=_NUM_KEPT)
def normalize_text(text: str) -> str:
    """Bring a text to its normal form: NFKC, ASCII punctuation, one space, no quotes around the whole of it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).translate(_CJK_TO_ASCII).split())
    while _is_quoted(folded):
        folded = folded[1:-1].strip()
    return folded


def _is_quoted(text: str) -> bool:
    """Tell whether one pair of quotes encloses the whole text: `'cup' and 'bowl'` holds two."""
    if len(text) < 2 or _QUOTE_PAIRS.get(text[0]) != text[-1]:
        return False
    return text[0] not in text[1:-1] and text[-1] not in text[1:-1]
