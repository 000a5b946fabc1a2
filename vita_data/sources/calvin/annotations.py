"""The index files of a CALVIN split: frame ranges of recordings and labelled windows, their texts and their scenes.

`ep_start_end_ids.npy` lists the recordings, `lang_annotations/auto_lang_ann.npy` the labelled windows in them. Frames
are not read here. Source: calvin_agent, datasets/disk_dataset.py; calvin_models, auto_lang_annotator.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vita_data.errors import SourceError
from vita_data.formats.npz import read_npy, read_pickled
from vita_data.types import Int64, RawTree

SPANS = "ep_start_end_ids.npy"
LABELS = "lang_annotations/auto_lang_ann.npy"
SCENES = "scene_info.npy"
_MAX_FRAME = 9_999_999
"""Frame files are numbered with seven digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameWindow:
    """Frames `first` to `last`, both included; a play recording has neither text nor task."""

    first: int
    last: int
    record: int
    """Its position in the index file."""
    text: str | None = None
    task: str | None = None
    fault: str = ""
    """What is wrong with the window's entry; if set, its frames and text are meaningless."""


def labelled_windows(raw: RawTree, folder: str) -> list[FrameWindow]:
    """List the labelled windows of a split in file order; both ends belong to the window.

    An invalid entry, such as a text that is a list, gets a fault and does not affect other windows.

    Raises:
        SourceError: the file cannot be read, or its lists have different lengths.
    """
    name = f"{folder}/{LABELS}"
    labels = read_pickled(raw.local_path(name), name=name)
    try:
        texts, tasks = list(labels["language"]["ann"]), list(labels["language"]["task"])  # type: ignore[index]
        ends = list(labels["info"]["indx"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SourceError(
            f"{name}: expected language.ann, language.task and pairs info.indx; fetch it again"
        ) from error
    if not len(texts) == len(tasks) == len(ends):
        raise SourceError(f"{name}: {len(texts)} texts, {len(tasks)} tasks and {len(ends)} windows differ in number")
    return [_labelled(record, *entry, name=name) for record, entry in enumerate(zip(ends, texts, tasks, strict=True))]


def _labelled(record: int, ends: object, text: object, task: object, *, name: str) -> FrameWindow:
    where = f"{name}: window {record}"
    span, words = _span(ends), _text(text)
    if span is None:
        fault = f"{where} has info.indx {ends!r:.80}, expected the numbers of its first and last frame"
        return FrameWindow(first=0, last=0, record=record, text="", fault=fault)
    if words is None:
        fault = f"{where} has language.ann {text!r:.80} ({type(text).__name__}), expected a text"
        return FrameWindow(first=span[0], last=span[1], record=record, text="", fault=fault)
    return FrameWindow(first=span[0], last=span[1], record=record, text=words, task=_text(task))


def _span(ends: object) -> tuple[int, int] | None:
    try:
        first, last = (int(end) for end in ends)  # type: ignore[attr-defined]
        is_whole = (first, last) == tuple(ends)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return (first, last) if is_whole and 0 <= first <= last <= _MAX_FRAME else None


def _text(value: object) -> str | None:
    """Return a text, also one stored by Python 2 as UTF-8 bytes; None for anything else."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value) if isinstance(value, str) else None
    except UnicodeDecodeError:
        return None


def play_windows(raw: RawTree, folder: str) -> list[FrameWindow]:
    """List each recording of a split as one window, in file order.

    Raises:
        SourceError: the list of recordings cannot be read.
    """
    return [_recording(record, span, folder) for record, span in enumerate(read_spans(raw, folder).tolist())]


def _recording(record: int, ends: object, folder: str) -> FrameWindow:
    if (span := _span(ends)) is not None:
        return FrameWindow(first=span[0], last=span[1], record=record)
    fault = f"{folder}/{SPANS}: recording {record} is {ends!r:.80}, expected the numbers of its first and last frame"
    return FrameWindow(first=0, last=0, record=record, fault=fault)


def read_spans(raw: RawTree, folder: str) -> Int64:
    """Read the first and last frame [N, 2] of each recording; unsorted; numbers between recordings may be unused.

    A split without the file gives no rows: only its labelled windows are known.

    Raises:
        SourceError: the file cannot be read or has other content.
    """
    name = f"{folder}/{SPANS}"
    if not raw.exists(name):
        return np.zeros((0, 2), np.int64)
    spans = read_npy(raw.local_path(name), name=name)
    if spans.ndim != 2 or spans.shape[1] != 2 or spans.dtype.kind not in "iu" or np.any(spans[:, 0] > spans[:, 1]):
        raise SourceError(f"{name}: {spans.dtype} {spans.shape}, expected first and last frames [N, 2]; fetch it again")
    return spans.astype(np.int64)


def read_scenes(raw: RawTree, folder: str) -> Mapping[str, tuple[int, int]]:
    """Read the first and last frame of each scene; empty if the release lacks the file.

    Raises:
        SourceError: the file cannot be read or has other content.
    """
    name = f"{folder}/{SCENES}"
    found = read_pickled(raw.local_path(name), name=name) if raw.exists(name) else {}
    try:
        return {str(key): (int(first), int(last)) for key, (first, last) in found.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError) as error:
        raise SourceError(f"{name}: expected a first and a last frame for each scene; fetch it again") from error
