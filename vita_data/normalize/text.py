"""Instruction text: which one is the main one, and the rules that drop an episode for it.

Source: the text rules T1..T11 of the dataset survey (VITA 7.1 asks for "high-quality text" and gives no rules;
Ego4D's tags: EGO4D annotation guidelines; word minimum: Ego4D CLEP preprocessing).
Assumes: a rule looks at the main text alone, after the first non-empty text of an episode was chosen as main.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from vita_data.types import Instruction, Reason, TextStyle
from vita_data.wording import normalize_text

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
_MIN_WORDS, _MIN_NARRATION_WORDS, _MAX_WORDS, _MAX_CHARS, _MAX_REPEATS = 3, 5, 60, 400, 3
_MIN_ASCII_LETTERS = 0.8
# Robots are told the same few sentences again and again.
_NUM_KEPT = 1024
_NARRATION_TAG = re.compile(r"^#\s*[Cc]\s+(?:[Cc]\b\s*)?")


def choose_main(instructions: Sequence[Instruction], style: TextStyle) -> Instruction:
    """Take the first text that is not empty as the main one, in normal form; an empty one where there is none."""
    for instruction in instructions:
        text = normalize_text(instruction.text)
        if text:
            return Instruction(
                text=clean_narration(text) if style is TextStyle.NARRATION else text, origin=instruction.origin
            )
    return Instruction(text="", origin=instructions[0].origin if instructions else "human")


def clean_narration(text: str) -> str:
    """Remove Ego4D's wearer tag from the front of a narration."""
    return _NARRATION_TAG.sub("", text)


@lru_cache(maxsize=_NUM_KEPT)
def text_fault(raw: str, style: TextStyle) -> Reason | None:
    """Name the first rule that a text breaks, None if it is good.

    Args:
        raw: the main text as the dataset has it; it is brought to normal form here.
        style: which rules apply. A constant text of a whole dataset is judged for emptiness alone.
    """
    text = normalize_text(raw)
    if not text:
        return Reason.EMPTY
    if style is TextStyle.CONSTANT:
        return None
    if style is TextStyle.NARRATION and (fault := _narration_fault(text)):
        return fault
    return _form_fault(text) or _words_fault(text, style)


def _narration_fault(text: str) -> Reason | None:
    lowered = text.lower()
    if "#unsure" in lowered:
        return Reason.UNSURE
    if re.search(r"#\s*o\b", lowered) or "#summary" in lowered or not re.match(r"#\s*c\b", lowered):
        return Reason.NOT_WEARER
    return Reason.GARBAGE if clean_narration(text).startswith("#") else None


def _form_fault(text: str) -> Reason | None:
    letters = [char for char in text if char.isalpha()]
    if text.lower() in _PLACEHOLDERS:
        return Reason.PLACEHOLDER
    if re.search(r"\[[A-Za-z ]+\]", text):
        return Reason.TEMPLATE
    if any(unicodedata.category(char) == "Cc" for char in text) or "�" in text:
        return Reason.GARBAGE
    if not letters:
        return Reason.NO_LETTERS
    if sum(char.isascii() for char in letters) < _MIN_ASCII_LETTERS * len(letters):
        return Reason.GARBAGE
    return None


def _words_fault(text: str, style: TextStyle) -> Reason | None:
    words = text.split()
    if "_" in text or (len(words) == 1 and style is TextStyle.IMPERATIVE):
        return Reason.GLUED
    fewest = _MIN_NARRATION_WORDS if style is TextStyle.NARRATION else _MIN_WORDS
    if len(words) < fewest and not _is_short_command(words, style):
        return Reason.TOO_FEW_WORDS
    if len(words) > _MAX_WORDS or len(text) > _MAX_CHARS:
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
