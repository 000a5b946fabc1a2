"""The neutral form of the samples: all JPEGs concatenated, and a table of the two frames and actions of each pair.

Peers export it to their own formats, and plain decoding reads it directly, so that all use the same bytes. It only
imports numpy, so that it also runs without this project's dependencies.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HORIZON, ACTION_DIM, FUTURE_STEPS = 16, 7, 15
"""A pair: a frame, the frame 1 s later at 15 Hz, and the 16 actions from the first frame on."""
_FRAMES, _TABLE = "frames.bin", "pairs.npz"

Taken = tuple[Any, Any, Any]
"""One batch: first and future frames uint8 [B, 256, 256, 3], actions [B, 16, 7 or more]; arrays or tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Samples as bytes."""

    jpegs: NDArray[np.uint8]
    """All JPEGs, concatenated."""
    offset: NDArray[np.int64]
    """[N + 1] frame n is jpegs[offset[n] : offset[n + 1]]"""
    pixels_crc32: NDArray[np.uint32]
    """[N] checksum of the decoded frame"""
    first: NDArray[np.int64]
    """[P] frame number"""
    future: NDArray[np.int64]
    """[P] frame number"""
    action: NDArray[np.float32]
    """[P, 16, 7]"""

    def __len__(self) -> int:
        return len(self.first)

    def jpeg(self, frame: int) -> bytes:
        """Give the JPEG of a frame."""
        return self.jpegs[self.offset[frame] : self.offset[frame + 1]].tobytes()

    def __iter__(self) -> Iterator[tuple[bytes, bytes, NDArray[np.float32]]]:
        for first, future, action in zip(self.first.tolist(), self.future.tolist(), self.action, strict=True):
            yield self.jpeg(first), self.jpeg(future), action

    def check(self, taken: Taken) -> None:
        """Verify that every sample of a batch is one of the pairs, pixel by pixel.

        Raises:
            ValueError: a sample is not one of the pairs.
        """
        first, future, action = (np.asarray(part) for part in taken)
        numbers = {int(crc): frame for frame, crc in enumerate(self.pixels_crc32)}
        places = {pair: place for place, pair in enumerate(zip(self.first.tolist(), self.future.tolist(), strict=True))}
        for slot in range(len(first)):
            pair = tuple(numbers.get(zlib.crc32(images[slot].tobytes())) for images in (first, future))
            place = places.get(pair)  # type: ignore[arg-type]
            if place is None:
                raise ValueError(f"sample {slot} of a batch: expected the two frames of a pair, got frames {pair}")
            # Our loader's actions are normalized and have columns for two arms, so they are not compared.
            if action.shape[2] == ACTION_DIM and not np.array_equal(action[slot], self.action[place]):
                raise ValueError(f"sample {slot} of a batch: its actions are those of another pair")


def frames_file(folder: Path) -> Path:
    """Give the path of the file with all JPEGs."""
    return folder / _FRAMES


def open_pairs(folder: Path) -> Pairs:
    """Memory-map the output of `write_pairs`."""
    with np.load(folder / _TABLE) as table:
        return Pairs(jpegs=np.memmap(folder / _FRAMES, np.uint8, mode="r"), **{name: table[name] for name in table})


def write_pairs(
    folder: Path, clips: Iterator[tuple[Sequence[bytes], Sequence[int], NDArray[np.float32]]]
) -> tuple[int, int]:
    """Write the pairs of clips, given as JPEGs, pixel checksums and actions [T, 7]; returns counts of frames, pairs."""
    sizes: list[int] = []
    sums: list[int] = []
    starts: list[NDArray[np.int64]] = []
    chunks: list[NDArray[np.float32]] = []
    with (folder / _FRAMES).open("wb") as file:
        for jpegs, pixels_crc32, actions in clips:
            rows = np.arange(len(jpegs) - FUTURE_STEPS)
            starts.append(len(sizes) + rows)
            chunks.append(actions[rows[:, None] + np.arange(HORIZON)])
            file.writelines(jpegs)
            sizes += [len(jpeg) for jpeg in jpegs]
            sums += pixels_crc32
    first = np.concatenate(starts)
    np.savez(
        folder / _TABLE,
        offset=np.cumsum([0, *sizes]),
        pixels_crc32=np.array(sums, np.uint32),
        first=first,
        future=first + FUTURE_STEPS,
        action=np.concatenate(chunks),
    )
    return len(sizes), len(first)
