"""A source whose raw files say how reading ends: `ok`, `hang`, `crash`, `grow`, `exit`; `late_` in images."""

import ctypes
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from vita_data.types import (
    Arms,
    CameraRole,
    Episode,
    Instruction,
    Modality,
    Outcome,
    Part,
    RawTree,
    ResizeMode,
    RgbFrame,
    SourceInfo,
    SourceSettings,
    TextStyle,
)

INFO = SourceInfo(
    name="fussy",
    title="Files that end their readers",
    embodiment="human",
    arms=Arms.NONE,
    modality=Modality.VIDEO,
    hz=10.0,
    cameras={CameraRole.PRIMARY: "rgb"},
    action_origin=None,
    action_space="none",
    text_style=TextStyle.IMPERATIVE,
    licence="ours",
    redistributable=False,
    access="none",
    url="https://example.org",
    raw_layout="*.txt",
)
NUM_ROWS = 20


class Settings(SourceSettings):
    """No keys of its own."""


def end(word: str) -> None:
    """End this process, or keep it busy, in a way that no exception can stop."""
    if word == "hang":
        re.match(r"(a+)+$", "a" * 64 + "b")  # holds the interpreter, as a C library does
    elif word == "crash":
        ctypes.string_at(0)
    elif word == "print":
        os.write(2, b"\x1b[2J a library's warning\n")
        os.write(1, b"\x1b[2J a library's remark\n")
        sys.stderr.write("a word of the source's author\n")
    elif word == "exit":
        os._exit(3)
    elif word == "grow":
        kept = [bytearray(50 << 20) for _ in range(1000)]
        raise AssertionError(f"{len(kept)} pieces")


def reserved_bytes(argument: object, on_progress: object, pulse: object) -> int:
    """Use Arrow; return what this process has reserved without using it."""
    pa.array([bytes(1000)] * 1000)
    found = dict(re.findall(r"(VmData|RssAnon):\s+(\d+) kB", Path("/proc/self/status").read_text()))
    return (int(found["VmData"]) - int(found["RssAnon"])) << 10


@dataclass(frozen=True)
class Camera:
    """Frames of one colour; the tenth one ends as the file says."""

    word: str
    num_frames: int = NUM_ROWS

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[RgbFrame]:
        for row in rows:
            if row >= NUM_ROWS // 2 and self.word.startswith("late_"):
                end(self.word.removeprefix("late_"))
            yield RgbFrame(np.full((256, 256, 3), 100 + row, np.uint8))


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List the text files; one named `index` is read first."""
    if raw.exists("index"):
        end(raw.read_bytes("index").decode())
    return [Part(id=path, num_bytes=raw.size(path), num_episodes=None) for path in raw.glob("*.txt")]


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read one episode for each word; `@NAME` gives it an id."""
    for number, text in enumerate(raw.read_bytes(part.id).decode().split()):
        word, _, id_ = text.partition("@")
        end(word)
        yield Episode(
            id=id_ or f"{part.id}:{number}",
            source="fussy",
            release="1",
            split=None,
            embodiment="human",
            arms=Arms.NONE,
            hz=10.0,
            step_index=np.arange(NUM_ROWS),
            instructions=(Instruction(text="pick up the red cup", origin="human"),),
            cameras={CameraRole.PRIMARY: Camera(word)},
        )


def write_toy(root: str) -> None:
    """Write two harmless files."""
    for name in ("a", "b"):
        (Path(root) / f"{name}.txt").write_text("ok ok ok")
