"""Identifies a text found in place of data: a pointer to the data, or a message of a server."""

import re
from dataclasses import dataclass

from vita_data.formats.json_text import parse_json

_SHOWN_CHARS = 80
_MAX_MESSAGE_BYTES = 2000
"""Longer text is not treated as a message."""
_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_ANNEX = (b"/annex/objects/", b".git/annex/objects/")
_ERROR_KEYS = frozenset({"error", "errors", "message", "detail", "details", "error_description", "code"})
_MAY_ACCOMPANY = frozenset({"status", "statusCode", "status_code", "success", "reason", "type", "timestamp", "path"})
_LOGIN = "fetch the file again, logged in and with the access rights that its owner requires"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file is, and what to do about it."""

    what: str
    advice: str


def describe_text(head: bytes, *, is_whole: bool, is_text_expected: bool) -> Finding | None:
    """Identify the text at the start of a file; None if it is expected or not text.

    Args:
        head: the first bytes.
        is_whole: whether they are the whole file.
        is_text_expected: whether the reader expects text, so that only known texts are reported.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(_LFS):
        return Finding("a Git LFS pointer, not the data", "run `git lfs pull` in its clone")
    if is_whole and len(head) < _MAX_MESSAGE_BYTES and any(place in text for place in _ANNEX):
        return Finding("a git-annex pointer, not the data", "run `git annex get` in its clone")
    lower = text[:1000].lower()
    if lower.startswith((b"<!doctype html", b"<head")) or (lower.startswith(b"<") and b"<html" in lower):
        return Finding(f"a web page{_quoted(_between(text, b'title'))}, not the data", _LOGIN)
    if lower.startswith((b"<?xml", b"<error")):
        said = " ".join(filter(None, (_between(text, b"Code"), _between(text, b"Message"))))
        return Finding(f"an XML message{_quoted(said)}, not the data", _LOGIN)
    if is_whole and (said := _json_error(text)):
        return Finding(f"a server's error message{_quoted(said)}, not the data", _LOGIN)
    if is_text_expected or not is_whole or not _is_printable(head):
        return None
    return Finding(f"a short text{_quoted(head.decode())}, not the data", "fetch the file again")


def _json_error(text: bytes) -> str:
    """Return the message of a JSON object that contains only an error; empty for any other text."""
    if not text.startswith(b"{") or len(text) > _MAX_MESSAGE_BYTES:
        return ""
    try:
        found = parse_json(text)
    except ValueError:
        return ""
    if not isinstance(found, dict) or not _ERROR_KEYS & set(found) or not set(found) <= _ERROR_KEYS | _MAY_ACCOMPANY:
        return ""
    first = next(value for key, value in found.items() if key in _ERROR_KEYS)
    inner = first.get("message") if isinstance(first, dict) else first
    return str(inner or first)


def _between(text: bytes, tag: bytes) -> str:
    found = re.search(rb"<%b[^>]*>(.*?)</%b>" % (tag, tag), text, re.DOTALL | re.IGNORECASE)
    return found[1].decode(errors="replace") if found else ""


def _quoted(said: str) -> str:
    words = " ".join("".join(char if char.isprintable() else " " for char in said).split())
    return f' that says "{words[:_SHOWN_CHARS]}"' if words else ""


def _is_printable(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return False
    return len(head) < _MAX_MESSAGE_BYTES and all(char.isprintable() or char in "\r\n\t" for char in text)
