"""Compares the model that a checkpoint's config describes with the size of its files, before memory is allocated."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from vita_data.errors import VitaDataError
from vita_model.network.configs import Component, VitaConfig
from vita_model.network.vita import Vita

_LIMITS = {
    "num_layers": 1000,
    **dict.fromkeys(("input_size", "image_size", "position_size", "output_size", "max_text_tokens"), 4096),
}
_LIMIT = 1 << 24
_NO_SIZES = ("random_seed", "grace_updates", "continuous_updates", "last_replacement")
_GROWTH, _FREE_BYTES = 4, 512 << 20
"""A model may take this many times its files' bytes (they may be narrower), and tables that are not stored."""


def require_fitting(checkpoint: Path, config: VitaConfig, parts: Collection[Component]) -> None:
    """Refuse a config that asks for more memory than a checkpoint's files can fill.

    Raises:
        VitaDataError: a size is unreasonable, the parts do not fit together, or the model is too large for the files.
    """
    for name, value in _sizes(asdict(config)):
        field = name.rpartition(".")[2]
        if field not in _NO_SIZES and value > _LIMITS.get(field, _LIMIT):
            raise VitaDataError(f"{checkpoint}: model.{name} must be at most {_LIMITS.get(field, _LIMIT)}, got {value}")
    files = [checkpoint / f"{name}.safetensors" for name in parts]
    held = sum(path.stat().st_size for path in files if path.is_file())
    asked = _num_bytes(checkpoint, config, parts)
    if asked > _GROWTH * held + _FREE_BYTES:
        raise VitaDataError(
            f"{checkpoint}: its config describes a model of {asked:,} bytes, but its files hold {held:,}; this is not "
            "the checkpoint of such a model"
        )


def _num_bytes(checkpoint: Path, config: VitaConfig, parts: Collection[Component]) -> int:
    try:
        with torch.device("meta"):
            model = Vita(config, parts)
    except (RuntimeError, ValueError, TypeError, OverflowError, ZeroDivisionError, AssertionError) as fault:
        told = " ".join(str(fault).split())
        raise VitaDataError(f"{checkpoint}: no model can be built from its config ({told})") from fault
    modules = [model.features, *(model.component(name) for name in parts)]
    return sum(one.nbytes for module in modules for one in (*module.parameters(), *module.buffers()))


def _sizes(values: Mapping[str, object], path: str = "") -> Iterator[tuple[str, int]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _sizes(value, f"{path}{name}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{path}{name}", value
