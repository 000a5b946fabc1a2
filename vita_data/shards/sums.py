"""JSON files that carry a sum over their own values, so that any damaged byte of them is found."""

import hashlib
import json

from vita_data.shards.schema import json_bytes
from vita_data.types import Json

SUM = "sha256"
"""Key of a file's own sum, over its other values; files of earlier versions have none."""


def with_sum(value: Json) -> Json:
    """Add the sum of the other values."""
    return {**value, SUM: _sum_of(value)}


def parse_summed(data: bytes) -> Json:
    """Parse a file and compare it with its sum, if it has one.

    Raises:
        ValueError: it is not a JSON object, or does not match its sum.
    """
    try:
        value = json.loads(data)
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__} instead of an object")
        if SUM in value and value[SUM] != _sum_of(value):
            raise ValueError(f"values that do not match their {SUM}")
    except RecursionError:
        raise ValueError("values nested too deeply") from None
    return value


def _sum_of(value: Json) -> str:
    return hashlib.sha256(json_bytes({key: one for key, one in value.items() if key != SUM})).hexdigest()
