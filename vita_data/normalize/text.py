"""Instruction texts: choosing the main one, and the rules that drop an episode because of it.

Source: the text rules T1..T11 of the dataset survey (VITA 7.1 requires "high-quality text" and gives no rules;
Ego4D's tags: EGO4D annotation guidelines; word minimum of narrations: Ego4D CLEP preprocessing).
Assumes: a rule checks only the main text, which is the first non-empty text of an episode.
"""

import itertools
import re
from collections.abc import Sequence
from functools import lru_cache

from vita_data.instruction_text import normalize_text
from vita_data.types import Instruction, Reason, TextStyle

_PLACEHOLDERS = frozenset(
    ("none", "[none]", "null", "nan", "n/a", "na", "unknown", "todo", "test", "task", "instruction", ".")
)
_VERBS = frozenset(
    {
        "close",
        "cover",
        "drop",
        "flip",
        "fold",
        "grab",
        "grasp",
        "hang",
        "hold",
        "insert",
        "knock",
        "lift",
        "move",
        "open",
        "pick",
        "place",
        "pour",
        "press",
        "pull",
        "push",
        "put",
        "release",
        "rotate",
        "slide",
        "stack",
        "stir",
        "sweep",
        "switch",
        "take",
        "turn",
        "uncover",
        "unstack",
        "wash",
        "clean",
        "wipe",
    }
)
_MIN_WORDS = {
    TextStyle.IMPERATIVE: 3,
    # 5.6% of the real validation labels of SSv2 have two words; 66% of "Folding [something]" do
    TextStyle.DESCRIPTION: 2,
    # including the two words of the wearer's tag, in any spelling
    TextStyle.NARRATION: 5,
    TextStyle.CONSTANT: 0,
}
_NUM_TAG_WORDS = 2
_MAX_WORDS, _MAX_CHARS, _MAX_REPEATS = 60, 400, 3
_MIN_ASCII_LETTERS = 0.8
# Robots get the same few sentences again and again.
_NUM_KEPT = 1024
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
# `#C` or `#CC`, then `C` again any number of times, each with the punctuation after it; the letter must be a separate
# word, so that "#C cuts" and "#C C-clamps" keep their verbs. Some annotators typed @ instead of #.
_WEARER_TAG = re.compile(
    r"""[^\w\#@]* [\#@]+\s* C{1,2}(?![\w'`\u2019]) [\s:;,.\-\u2010-\u2015]*
        (?: [\#@]?\s* C{1,2}(?![\w'`\u2019]|-\w) [\s:;,.\-\u2010-\u2015]* )*""",
    re.IGNORECASE | re.VERBOSE,
)
_TAG = re.compile(r"#\s*([A-Za-z]+)")
_SUMMARY = re.compile(r"s[aeu]m+[ae]?ry", re.IGNORECASE)


def find_main(instructions: Sequence[Instruction]) -> Instruction:
    """Return the first text that is not empty in normal form, as stored in the dataset; an empty one if none."""
    return next(
        (each for each in instructions if normalize_text(each.text)),
        Instruction(text="", origin=instructions[0].origin if instructions else "human"),
    )


def choose_main(instructions: Sequence[Instruction], style: TextStyle) -> Instruction:
    """Return the main text in the stored form: normal form, without Ego4D's wearer tag."""
    main = find_main(instructions)
    text = normalize_text(main.text)
    return Instruction(text=clean_narration(text) if style is TextStyle.NARRATION else text, origin=main.origin)


def clean_narration(text: str) -> str:
    """Remove Ego4D's wearer tag from the front of a narration in normal form."""
    tag = _WEARER_TAG.match(text)
    return text[tag.end() :] if tag else text


@lru_cache(maxsize=_NUM_KEPT)
def text_fault(raw: str, style: TextStyle, template: str = "") -> Reason | None:
    """Return the first rule that a text breaks; None if it breaks none.

    Args:
        raw: the main text as stored in the dataset; it is normalized here.
        style: which rules apply; a constant text of a whole dataset is only checked for emptiness.
        template: the pattern with [brackets] that the text fills; empty if the source has none.
    """
    text = normalize_text(raw)
    if not text:
        return Reason.EMPTY
    if style is TextStyle.CONSTANT:
        return None
    if style is TextStyle.NARRATION:
        if fault := _narration_fault(text):
            return fault
        text = clean_narration(text)
    return _form_fault(text, template) or _words_fault(text, style)


def _narration_fault(text: str) -> Reason | None:
    """Check the tags of a narration.

    Source: the guidelines know four tags: #C, #O, #unsure, #summary. The spellings come from the 12,526 narrations
        in ExplainableML/EgoCVR (annotation/egocvr/egocvr_data.csv) and of the public readers.
    Assumes: a single letter is another person's tag, and any further word (#usure, #unsre, #unknown) is #unsure
        misspelled; a wearer's tag inside the text starts a second narration.
    """
    if re.search(r"#\s*unsure", text, re.IGNORECASE):
        return Reason.UNSURE
    tag = _WEARER_TAG.match(text)
    if tag is None:
        return Reason.NOT_WEARER
    for found in _TAG.finditer(text, tag.end()):
        word = found[1].lower()
        if word in ("c", "cc"):
            return Reason.GARBAGE
        return Reason.NOT_WEARER if len(word) == 1 or _SUMMARY.fullmatch(word) else Reason.UNSURE
    return Reason.EMPTY if tag.end() == len(text) else None


def _form_fault(text: str, template: str) -> Reason | None:
    letters = [char for char in text if char.isalpha()]
    if text.lower() in _PLACEHOLDERS:
        return Reason.PLACEHOLDER
    if re.search(r"\[[A-Za-z ]+\]", text) or _is_unfilled(text, template):
        return Reason.TEMPLATE
    if "\ufffd" in text:
        return Reason.GARBAGE
    if not letters:
        return Reason.NO_LETTERS
    if sum(char.isascii() for char in letters) < _MIN_ASCII_LETTERS * len(letters):
        return Reason.GARBAGE
    return None


def _is_unfilled(text: str, template: str) -> bool:
    """Tell whether a text is its own template: brackets were replaced only by the word "something".

    Source: 232 of SSv2's 24,777 validation labels ("dropping something into something").
    Assumes: a text with anything filled in is good, even if vague: "showing cup behind something".
    """
    pattern = normalize_text(template)
    unfilled = (pattern.replace("[", "").replace("]", ""), _BRACKETS.sub("something", pattern))
    return _BRACKETS.search(pattern) is not None and _folded(text) in map(_folded, unfilled)


def _folded(text: str) -> str:
    return " ".join(text.rstrip(".").casefold().split())


def _words_fault(text: str, style: TextStyle) -> Reason | None:
    words = text.split()
    num_words = len(words) + (_NUM_TAG_WORDS if style is TextStyle.NARRATION else 0)
    if "_" in text or (len(words) == 1 and style is TextStyle.IMPERATIVE):
        return Reason.GLUED
    if num_words < _MIN_WORDS[style] and not _is_short_command(words, style):
        return Reason.TOO_FEW_WORDS
    if num_words > _MAX_WORDS or len(text) > _MAX_CHARS:
        return Reason.TOO_LONG
    return Reason.REPETITION if _longest_run(words) > _MAX_REPEATS else None


def _is_short_command(words: Sequence[str], style: TextStyle) -> bool:
    return style is TextStyle.IMPERATIVE and len(words) == 2 and words[0].lower() in _VERBS


def _longest_run(words: Sequence[str]) -> int:
    longest, run = 1, 1
    for before, word in itertools.pairwise(words):
        run = run + 1 if word.lower() == before.lower() else 1
        longest = max(longest, run)
    return longest
