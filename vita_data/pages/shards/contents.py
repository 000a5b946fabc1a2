"""What the indexes of a built source contain about all its clips: lengths, rates, instructions and their words.

Reads only the index columns that it needs and opens no shard, so that the cost depends on the number of clips, not on
their size.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vita_data.shards.index import open_source
from vita_data.storage.files import AnyPath
from vita_data.types import Float64, Int64, Split

_COLUMNS = ("hz", "num_steps", "instruction")
# Letters and digits of any script; an apostrophe or a hyphen joins two parts of one word.
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")  # noqa: RUF001 - datasets write both apostrophes


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All clips [N] of a built source, train and val."""

    source: str
    hz: Float64
    num_steps: Int64
    instructions: Mapping[str, int]
    """Number of clips per instruction used in training, most frequent first; "" counts clips without one."""

    @property
    def length_s(self) -> Float64:
        """Rows divided by rate [N]; removed steps do not count."""
        return self.num_steps / self.hz

    @property
    def num_clips(self) -> int:
        """The number of clips."""
        return len(self.num_steps)

    @property
    def texts(self) -> Mapping[str, int]:
        """Number of clips per instruction, without the empty one."""
        return {words: count for words, count in self.instructions.items() if words}

    @cached_property
    def words(self) -> Mapping[str, int]:
        """How often each lower-cased word occurs in all clips, most frequent first."""
        counts: Counter[str] = Counter()
        for instruction, count in self.texts.items():
            for word in split_words(instruction):
                counts[word] += count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def num_words(self) -> Int64:
        """Number of words of each clip with an instruction [M], M <= N."""
        each = [len(split_words(instruction)) for instruction in self.texts]
        return np.repeat(np.array(each, np.int64), np.array(list(self.texts.values()), np.int64))


def read_contents(folder: AnyPath) -> Contents:
    """Read the facts about a built source's clips from its indexes.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: an index is missing or damaged.
    """
    indexes = [open_source(folder, split) for split in Split]
    table = pa.concat_tables([index.table.select(_COLUMNS) for index in indexes])
    found = pc.value_counts(table.column("instruction")).to_pylist()
    ordered = sorted(((pair["values"] or "", pair["counts"]) for pair in found), key=lambda pair: (-pair[1], pair[0]))
    return Contents(
        source=indexes[0].source,
        hz=table.column("hz").to_numpy().astype(np.float64),
        num_steps=table.column("num_steps").to_numpy().astype(np.int64),
        instructions=dict(ordered),
    )


def split_words(instruction: str) -> list[str]:
    """Split an instruction into lower-cased words."""
    return _WORD.findall(instruction.lower())
