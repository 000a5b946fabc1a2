"""Instructions as token ids: the tokenizer protocol, PaliGemma's tokenizer, and a byte-level one without downloads.

Letters: B texts, S tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tokenizers
import torch
from torch import Tensor

from vita_data.errors import RequestError, VitaDataError
from vita_model.network.weights.hub import one_line

TOKENIZER = "tokenizer.json"
"""Name of the file in a folder of released weights, and in a checkpoint."""
_PAD, _BOS, _FIRST_BYTE = 0, 2, 3
_BOS_WORD, _NEWLINE = "<bos>", "\n"


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

    @property
    def stored(self) -> bytes | None:
        """Bytes that a checkpoint stores to restore the tokenizer; None: nothing is needed."""

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Encode texts, padded or truncated to the tokenizer's length."""

    def pieces(self, text: str) -> list[int]:
        """Give the ids of a text, without <bos> and newline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteTokenizer:
    """UTF-8 bytes between <bos> and a newline, as in PaliGemma's prompts; ids 0..2 are pad, eos, bos."""

    max_tokens: int

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary: 256 bytes and three special tokens."""
        return _FIRST_BYTE + 256

    @property
    def stored(self) -> bytes | None:
        """Nothing: the ids follow from the bytes."""
        return None

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Encode texts as ids [B, max_tokens]; long texts are truncated before the newline."""
        newline = ord(_NEWLINE) + _FIRST_BYTE
        return _framed([self.pieces(text) for text in texts], self.max_tokens, bos=_BOS, newline=newline)

    def pieces(self, text: str) -> list[int]:
        """Give the ids of a text's bytes."""
        return [byte + _FIRST_BYTE for byte in text.encode()]


class WordPieceTokenizer:
    r"""The tokenizer of released weights, from the bytes of its tokenizer.json.

    A text becomes `<bos> text \n`, as in PaliGemma's prompts. Words that look like special tokens are plain text.
    """

    def __init__(self, stored: bytes, *, max_tokens: int) -> None:
        self.stored: bytes | None = stored
        self.max_tokens = max_tokens
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(stored)
        except Exception as fault:
            raise RequestError(f"{TOKENIZER} cannot be read ({one_line(fault)})") from fault
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._bos, self._newline = self._id(_BOS_WORD), self._id(_NEWLINE)

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Encode texts as ids [B, max_tokens]; long texts are truncated before the newline."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return _framed([one.ids for one in found], self.max_tokens, bos=self._bos, newline=self._newline)

    def pieces(self, text: str) -> list[int]:
        """Give the ids of a text's word pieces."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _id(self, word: str) -> int:
        found = self._tokenizer.token_to_id(word)
        if found is None:
            raise RequestError(f"{TOKENIZER} has no token {word!r}, which every instruction needs")
        return int(found)


def checkpoint_tokenizer(checkpoint: Path, *, max_tokens: int) -> Tokenizer:
    """Load the tokenizer that a checkpoint's backbone was trained with; the caller must verify the checksum.

    Raises:
        VitaDataError: the file cannot be read.
    """
    path = checkpoint / TOKENIZER
    if not path.is_file():
        return ByteTokenizer(max_tokens=max_tokens)
    try:
        return WordPieceTokenizer(path.read_bytes(), max_tokens=max_tokens)
    except (OSError, RequestError) as fault:
        raise VitaDataError(f"{path} cannot be read ({fault}); remove {checkpoint} to use the previous one") from fault


def _framed(texts: Sequence[Sequence[int]], length: int, *, bos: int, newline: int) -> Tokens:
    """Put each text between <bos> and a newline and pad it; long texts are truncated before the newline."""
    ids = torch.full((len(texts), length), _PAD, dtype=torch.int64)
    mask = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, real, text in zip(ids, mask, texts, strict=True):
        framed = [bos, *text[: length - 2], newline]
        row[: len(framed)] = torch.tensor(framed)
        real[: len(framed)] = True
    return Tokens(ids=ids, mask=mask)
