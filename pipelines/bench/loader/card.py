"""The card of a synthetic source: complete, but about an invented dataset."""

from collections.abc import Sequence
from dataclasses import replace

from vita_data.builder.finish import make_card
from vita_data.builder.plan import codec_versions
from vita_data.config.settings import settings_json
from vita_data.normalize import FrameSelection
from vita_data.shards.card_fields import SUMS
from vita_data.sources import load
from vita_data.types import Json, SourceSettings, Split


def synthetic_card(source: str, shards: Sequence[Json], sums: Json) -> Json:
    """Describe a source of train shards; `sums` has the sha256 of the files beside the card."""
    fingerprint = {
        "settings": settings_json(SourceSettings()),
        "frames": FrameSelection.ALL,
        "limit": None,
        "versions": codec_versions(),
    }
    card = make_card(replace(load("bridge").INFO, name=source), fingerprint, ())
    return {**card, "shards": {Split.TRAIN: list(shards), Split.VAL: []}, SUMS: sums}
