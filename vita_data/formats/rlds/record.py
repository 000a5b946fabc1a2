"""One record of an RLDS file: an episode whose flat keys (`steps/action`) contain all steps concatenated.

Converts a key to a typed array with the shape in `features.json`; does not interpret the values.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vita_data.errors import EpisodeError
from vita_data.formats.limits import MAX_ARRAY_BYTES
from vita_data.formats.rlds.features import FeatureSpec, TensorEncoding
from vita_data.formats.rlds.tf_example import FeatureValues, decode_feature, index_example
from vita_data.types import Float64, Int64, Split


class RldsRecord:
    """One episode of a file, decoded key by key on demand; `id` is `<file>#<record>` and unique in a tree."""

    def __init__(
        self, data: bytes | EpisodeError, *, file: str, index: int, split: Split | None,
        features: Mapping[str, FeatureSpec],
    ) -> None:  # fmt: skip
        """Make a record from its bytes, or from the error of reading them, which is raised when a key is read."""
        self.file, self.index, self.split, self.features = file, index, split, features
        self._data = data
        self._messages: dict[str, memoryview] | None = None

    @property
    def id(self) -> str:
        """The episode id.

        Assumes: a release is never re-sharded under the same version, so that file and position identify an episode.
        """
        return record_id(self.file, self.index)

    def has(self, path: str) -> bool:
        """Tell whether the record has a known key."""
        return path in self.features and path in self._index()

    def floats(self, path: str) -> Float64:
        """Read floating values, [T, *shape] under `steps`, else [*shape].

        Raises:
            EpisodeError: the key is missing, has another type, or does not fill its shape.
        """
        return self._array(path, "f").astype(np.float64)

    def ints(self, path: str) -> Int64:
        """Read integer or boolean values, [T, *shape] under `steps`, else [*shape].

        Raises:
            EpisodeError: the key is missing, has another type, or does not fill its shape.
        """
        return self._array(path, "iub").astype(np.int64)

    def byte_strings(self, path: str) -> Sequence[bytes]:
        """Read images or texts as stored, one per step; each is copied out of the record when it is accessed.

        Raises:
            EpisodeError: the key is missing or contains numbers.
        """
        values = self._values(path)
        if isinstance(values, np.ndarray):
            raise self._error(path, f"contains {values.dtype}, expected byte strings")
        return values

    def texts(self, path: str) -> list[str]:
        """Read UTF-8 texts, one per step; bytes that are not UTF-8 become U+FFFD.

        Raises:
            EpisodeError: the key is missing or contains numbers.
        """
        return [text.decode(errors="replace") for text in self.byte_strings(path)]

    def text(self, path: str) -> str | None:
        """Read the first text of a key; None if the record lacks the key or its list is empty.

        Raises:
            EpisodeError: the key contains numbers.
        """
        return next(iter(self.texts(path)), None) if self.has(path) else None

    def _index(self) -> dict[str, memoryview]:
        if self._messages is None:
            if isinstance(self._data, EpisodeError):
                raise self._data
            try:
                self._messages = index_example(self._data)
            except ValueError as error:
                raise EpisodeError(f"{self.id}: not a tf.train.Example: {error}") from error
        return self._messages

    def _values(self, path: str) -> FeatureValues:
        if path not in self.features:
            raise self._error(path, f"is not listed in features.json, which has: {', '.join(sorted(self.features))}")
        if path not in self._index():
            raise self._error(path, f"is missing; the record has: {', '.join(sorted(self._index()))}")
        try:
            return decode_feature(self._index()[path])
        except ValueError as error:
            raise self._error(path, f"cannot be decoded: {error}") from error

    def _array(self, path: str, kinds: str) -> NDArray[np.generic]:
        values, spec = self._values(path), self.features[path]
        numbers = values if isinstance(values, np.ndarray) else self._unpack(path, values)
        if numbers.size and numbers.dtype.kind not in kinds:
            raise self._error(path, f"contains {numbers.dtype}, expected {'floats' if kinds == 'f' else 'integers'}")
        sizes = ((-1,) if spec.num_levels else ()) + tuple(-1 if size is None else size for size in spec.shape)
        if sizes.count(-1) > 1 or spec.num_levels > 1:
            raise self._error(path, f"has several unknown sizes {sizes}; ragged values are not supported")
        try:
            return numbers.reshape(sizes)
        except ValueError as error:
            raise self._error(path, f"has {numbers.size} values, which do not fill the shape {sizes}") from error

    def _unpack(self, path: str, stored: Sequence[bytes]) -> NDArray[np.generic]:
        spec = self.features[path]
        if not stored:
            return np.zeros(0)
        if spec.encoding is TensorEncoding.NONE:
            raise self._error(path, "contains byte strings, expected numbers")
        try:
            raw = stored if spec.encoding is TensorEncoding.BYTES else [_inflated(item) for item in stored]
            # Each string is one step's tensor: a short one must not be filled from the next one.
            return np.stack([np.frombuffer(item, spec.dtype) for item in raw])
        except (zlib.error, ValueError, TypeError) as error:
            raise self._error(path, f"is not {spec.encoding}-encoded {spec.dtype}: {error}") from error

    def _error(self, path: str, what: str) -> EpisodeError:
        return EpisodeError(f"{self.id}: feature {path!r} {what}")


def _inflated(data: bytes) -> bytes:
    """Decompress one step's tensor.

    Raises:
        ValueError: it is incomplete, or larger than any known array.
        zlib.error: it is damaged.
    """
    inflater = zlib.decompressobj()
    found = inflater.decompress(data, MAX_ARRAY_BYTES)
    if not inflater.eof:
        raise ValueError(f"incomplete, or more than {MAX_ARRAY_BYTES} bytes")
    return found


def record_id(file: str, index: int) -> str:
    """Return the id of a record of a file: `<file>#<5 digits>`."""
    return f"{file}#{index:05d}"
