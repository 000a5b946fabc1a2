"""Released DINOv2 weights, from a local folder or hub name in the Hugging Face format, or from timm.

Both are loaded into the library's `Dinov2Model`, so that the same weights give the same features from either source.
Weights are loaded only when a run needs them.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model
from transformers.utils import logging

from vita_data.errors import RequestError
from vita_data.installation import install_extra
from vita_data.storage.files import expand_home
from vita_model.network.configs import RANDOM, TIMM
from vita_model.network.weights.hub import CONFIG, WEIGHTS, find_folder, hub_folder, one_line, read_config, weight_files

_MASK_TOKEN = "embeddings.mask_token"
_SHAPE = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "mlp_ratio", "image_size", "patch_size",
    "hidden_act", "layer_norm_eps", "qkv_bias", "use_swiglu_ffn",
)  # fmt: skip
_TIMM_FOLDER = "local-dir"
_TIMM_HUB = ("hf-hub", "hf_hub")
_FROM_TIMM = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A float32 model in eval mode, and the checksum of its weights."""

    dino: Dinov2Model
    sha256: str
    """Checksum of names and values, independent of the files and the source."""


def load_dinov2(backbone: str, config: Dinov2Config) -> Pretrained:
    """Load the weights of that name into a model with the shape of `config`.

    Raises:
        RequestError: the weights cannot be found or read, or have the wrong shape.
    """
    try:
        if backbone.startswith(TIMM):
            tensors = _timm_tensors(backbone.removeprefix(TIMM), config)
        else:
            folder = find_folder(backbone)
            _check_config(folder, config)
            tensors = _folder_tensors(folder)
        return Pretrained(dino=_assemble(tensors, config), sha256=_sha256(tensors))
    except RequestError as fault:
        raise RequestError(
            f"visual.backbone={backbone}: {fault}; use --set visual.backbone=<folder with {CONFIG} and {WEIGHTS}, or "
            f"hub name>, or --set visual.backbone={RANDOM} for random weights"
        ) from fault


def as_library_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of timm's vision transformer to the names of the Hugging Face format."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = key
        for pattern, replacement in _FROM_TIMM:
            name = re.sub(pattern, replacement, name)
        if ".attn.qkv." not in name:
            renamed[name] = tensor
            continue
        for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            renamed[name.replace(".attn.qkv.", f".attention.attention.{part}.")] = rows
    return renamed


def _check_config(folder: Path, config: Dinov2Config) -> None:
    stored, usual = read_config(folder), Dinov2Config()
    for name in _SHAPE:
        found, wanted = stored.get(name, getattr(usual, name)), getattr(config, name)
        if found != wanted:
            raise RequestError(f"its {name} is {found}, but the recipe's model.visual has {wanted}")


def _folder_tensors(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            tensors |= load_file(path)
        except Exception as fault:
            raise RequestError(f"{path} cannot be read ({one_line(fault)})") from fault
    return tensors


def _timm_tensors(name: str, config: Dinov2Config) -> dict[str, Tensor]:
    try:
        import timm
    except (ImportError, OSError, RuntimeError) as fault:
        raise RequestError(f"timm cannot be imported ({one_line(fault)}); {install_extra('timm')}") from fault
    source, _, model_id = name.partition(":")
    name = f"{source}:{expand_home(model_id)}" if source == _TIMM_FOLDER else name
    known = None if model_id else timm.get_pretrained_cfg(name)
    hub_name = model_id if source in _TIMM_HUB else known and known.hf_hub_id
    if hub_name:
        hub_folder(hub_name)  # same cache, but without timm's long retries
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
        heads = model.blocks[0].attn.num_heads
        tensors = as_library_names(model.state_dict())
    except Exception as fault:
        raise RequestError(f"timm has no DINOv2 model of that name ({one_line(fault)})") from fault
    if heads != config.num_attention_heads:
        raise RequestError(f"it has {heads} heads, but the recipe's model.visual has {config.num_attention_heads}")
    return tensors


def _assemble(tensors: dict[str, Tensor], config: Dinov2Config) -> Dinov2Model:
    """Build the model from weights with the names used in files; the library maps them to its own names."""
    tensors.setdefault(_MASK_TOKEN, torch.zeros(1, config.hidden_size))  # used only in DINOv2's own training
    with _quiet():
        loaded: Any = Dinov2Model.from_pretrained(
            None,
            state_dict=tensors,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    dino: Dinov2Model = loaded[0]
    found = loaded[1]
    for key, shape, wanted in sorted(found["mismatched_keys"]):
        raise RequestError(f"its {key} is {tuple(shape)}, but the recipe's model.visual has {tuple(wanted)}")
    for key in sorted(found["missing_keys"]):
        raise RequestError(f"it has no {key}")
    for key in sorted(found["unexpected_keys"]):
        raise RequestError(f"it has {key}, which the recipe's model.visual does not have")
    return dino


def _sha256(tensors: dict[str, Tensor]) -> str:
    """Hash weights with the names used in files, because the library's own names change between versions."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if name != _MASK_TOKEN:
            digest.update(name.encode())
            digest.update(tensor.detach().float().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's progress bar and its report on the weights, which `_assemble` reads itself."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
