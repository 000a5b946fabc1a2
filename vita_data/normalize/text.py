"""Instruction text: which one is the main one, and the rules that drop an episode for it.

Source: the text rules T1..T11 of the dataset survey (VITA 7.1 asks for "high-quality text" and gives no rules;
Ego4D's tags: EGO4D annotation guidelines; word minimum of narrations: Ego4D CLEP preprocessing).
Assumes: a rule looks at the main text alone, after the first non-empty text of an episode was chosen as main.
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
    # of the real validation labels of SSv2 5.6% have two words, of "Folding [something]" 66%
    TextStyle.DESCRIPTION: 2,
    # the two words of the wearer's tag included, however it is spelled
    TextStyle.NARRATION: 5,
    TextStyle.CONSTANT: 0,
}
_NUM_TAG_WORDS = 2
_MAX_WORDS, _MAX_CHARS, _MAX_REPEATS = 60, 400, 3
_MIN_ASCII_LETTERS = 0.8
# Robots are told the same few sentences again and again.
_NUM_KEPT = 1024
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
# `#C` or `#CC`, then `C` again any number of times, each with what is typed after it; the letter must be a word of
# its own, so that "#C cuts" and "#C C-clamps" keep their verbs. Some annotators typed @ for #.
_WEARER_TAG = re.compile(
    r"""[^\w\#@]* [\#@]+\s* C{1,2}(?![\w'`\u2019]) [\s:;,.\-\u2010-\u2015]*
        (?: [\#@]?\s* C{1,2}(?![\w'`\u2019]|-\w) [\s:;,.\-\u2010-\u2015]* )*""",
    re.IGNORECASE | re.VERBOSE,
)
_TAG = re.compile(r"#\s*([A-Za-z]+)")
_SUMMARY = re.compile(r"s[aeu]m+[ae]?ry", re.IGNORECASE)


def find_main(instructions: Sequence[Instruction]) -> Instruction:
    """Take the first text that is not empty in normal form, as the dataset has it; an empty one where there is none."""
    return next(
        (each for each in instructions if normalize_text(each.text)),
        Instruction(text="", origin=instructions[0].origin if instructions else "human"),
    )


def choose_main(instructions: Sequence[Instruction], style: TextStyle) -> Instruction:
    """Bring the main text to the form that is stored: normal form, without Ego4D's wearer tag."""
    main = find_main(instructions)
    text = normalize_text(main.text)
    return Instruction(text=clean_narration(text) if style is TextStyle.NARRATION else text, origin=main.origin)


def clean_narration(text: str) -> str:
    """Remove Ego4D's wearer tag from the front of a narration in normal form."""
    tag = _WEARER_TAG.match(text)
    return text[tag.end() :] if tag else text


@lru_cache(maxsize=_NUM_KEPT)
def text_fault(raw: str, style: TextStyle, template: str = "") -> Reason | None:
    """Name the first rule that a text breaks, None if it is good.

    Args:
        raw: the main text as the dataset has it; it is brought to normal form here.
        style: which rules apply. A constant text of a whole dataset is judged for emptiness alone.
        template: the pattern with [brackets] that the text fills in, empty where the source has none.
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
    """Judge the tags of a narration.

    Source: the guidelines know four tags: #C, #O, #unsure, #summary. The spellings are those of the 12,526 narrations
        in ExplainableML/EgoCVR (annotation/egocvr/egocvr_data.csv) and of the public readers.
    Assumes: a single letter is another person's tag, and any further word (#usure, #unsre, #unknown) is #unsure
        misspelled; a wearer's tag inside the text begins a second narration.
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
    """Tell whether a text is its own template: nothing in brackets was replaced but by the word "something".

    Source: 232 of SSv2's 24,777 validation labels ("dropping something into something").
    Assumes: a text in which anything was filled in is good although vague: "showing cup behind something".
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
