"""Instructions as token ids: a face for tokenizers, and the byte-level one that needs no download.

Not here: PaliGemma's SentencePiece vocabulary, which belongs to its released weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_PAD, _BOS, _FIRST_BYTE = 0, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token ids int64 [B, S] and their mask bool [B, S]."""

    ids: Tensor
    mask: Tensor


class Tokenizer(Protocol):
    """Turns instructions into ids of a fixed length."""

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary."""

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Encode texts, padded or cut to the tokenizer's length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteTokenizer:
    """UTF-8 bytes behind <bos>, closed by a newline as PaliGemma's prompts are; ids 0..2 are pad, eos, bos."""

    max_tokens: int

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary: 256 bytes and three specials."""
        return _FIRST_BYTE + 256

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Encode texts as ids [B, max_tokens]; what does not fit is cut before the newline."""
        ids = torch.full((len(texts), self.max_tokens), _PAD, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            data = text.encode()[: self.max_tokens - 2] + b"\n"
            row[: len(data) + 1] = torch.tensor([_BOS, *(byte + _FIRST_BYTE for byte in data)])
        return Tokens(ids=ids, mask=ids != _PAD)
