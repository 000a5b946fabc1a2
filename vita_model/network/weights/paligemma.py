"""Load PaliGemma's released weights and tokenizer into the backbone of a new run.

Source: a folder or hub name in the Hugging Face format, with config.json, safetensors (one file or shards) and
tokenizer.json. Tensors are copied one by one, so that memory never holds a second copy of the weights. Weights are
loaded only when a run needs them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PaliGemmaConfig

from vita_data.errors import RequestError
from vita_model.distributed import laid_like
from vita_model.network.backbone import SUBTASKS, Backbone
from vita_model.network.configs import RANDOM
from vita_model.network.weights.hub import (
    CONFIG,
    WEIGHTS,
    cached_folder,
    find_folder,
    one_line,
    read_config,
    weight_files,
)
from vita_model.network.weights.tokenizer import TOKENIZER, WordPieceTokenizer

_OURS = (
    (re.compile(r"^(model\.)?language_model\.(model\.)?"), "gemma."),
    (re.compile(r"^(model\.)?vision_tower\.(vision_model\.)?"), "vision."),
    (re.compile(r"^(model\.)?multi_modal_projector\.linear\."), "projector."),
)
"""Names in files of transformers 4 and 5, and our names for them."""
_LEFT_OUT = re.compile(
    r"(^|\.)(lm_head\.weight|position_ids|inv_freq)$|^(model\.)?vision_tower\.(vision_model\.)?head\."
)
"""Unused tensors: the output layer, tables that are computed, and SigLIP's pooling head."""
_EMBEDDINGS = "gemma.embed_tokens.weight"
_SAMPLED = 16
"""The scale of the embedding table is estimated from every 16th row."""
_LANGUAGE = ("num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters")
_VISION = ("hidden_act", "num_attention_heads", "layer_norm_eps", "image_size", "patch_size")


def load_paligemma(backbone: Backbone) -> None:
    """Load the weights and tokenizer that the backbone's config names, unless they are random.

    Subtask rows are initialized with the mean of the scaled embeddings of their words' pieces, and learned queries are
    rescaled to the size of the scaled embeddings.

    Raises:
        RequestError: the weights cannot be found or read, or have the wrong shape.
    """
    name = backbone.config.weights
    if name == RANDOM:
        return
    with _explained(name):
        folder = find_folder(name, also=[TOKENIZER])
        _check_config(folder, backbone)
        tokenizer = read_tokenizer(folder, backbone)
        files = weight_files(folder)
        _check_tensors(files, backbone)
        with torch.no_grad():
            for ours, tensor in _tensors(files):
                if ours == _EMBEDDINGS:
                    _start_rows(backbone, tensor, tokenizer)
                _put(backbone.get_parameter(ours), tensor)
    backbone.tokenizer = tokenizer


def check_tokenizer(backbone: Backbone, where: str) -> None:
    """Refuse to continue if the tokenizer that the config names differs, on this machine, from the backbone's.

    Raises:
        RequestError: the tokenizers differ.
    """
    name, own = backbone.config.weights, backbone.tokenizer.stored
    if name == RANDOM or own is None:
        return
    path = Path(name).expanduser()
    folder = path if path.is_dir() else _in_cache(name)
    file = folder / TOKENIZER if folder else None
    if file is not None and file.is_file() and file.read_bytes() != own:
        raise RequestError(
            f"{where}: {file} differs from the tokenizer of that run; restore the original, or move the folder away"
        )


def read_tokenizer(folder: Path, backbone: Backbone) -> WordPieceTokenizer:
    """Read the tokenizer of a folder of weights.

    Raises:
        RequestError: the file does not exist, cannot be read, or has more tokens than the backbone has embeddings.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise RequestError(f"{folder} has no {TOKENIZER}")
    tokenizer = WordPieceTokenizer(path.read_bytes(), max_tokens=backbone.config.max_text_tokens)
    found, wanted = tokenizer.num_tokens, backbone.config.vocabulary
    if found > wanted:
        raise RequestError(
            f"its {TOKENIZER} has {found} tokens, but the recipe's model.backbone.vocabulary is {wanted}"
        )
    return tokenizer


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Add to an error which weights it is about, and how to use others."""
    try:
        yield
    except RequestError as fault:
        raise RequestError(
            f"backbone.weights={name}: {fault}; use --set backbone.weights=<folder with {CONFIG}, {WEIGHTS} and "
            f"{TOKENIZER}, or hub name>, or --set backbone.weights={RANDOM} for random weights"
        ) from fault


def _in_cache(name: str) -> Path | None:
    try:
        return cached_folder(name)
    except ValueError:  # not a valid hub name
        return None


def _check_config(folder: Path, backbone: Backbone) -> None:
    """Compare settings that the shapes of tensors do not show."""
    stored = read_config(folder)
    if stored.get("model_type") != PaliGemmaConfig.model_type:
        raise RequestError(f"its model_type is {stored.get('model_type')}, expected {PaliGemmaConfig.model_type}")
    try:
        found = PaliGemmaConfig.from_dict(stored)
    except Exception as fault:
        raise RequestError(f"{folder / CONFIG} cannot be read ({one_line(fault)})") from fault
    parts: tuple[tuple[str, Any, Any, tuple[str, ...]], ...] = (
        ("text_config", found.text_config, backbone.gemma.config, _LANGUAGE),
        ("vision_config", found.vision_config, backbone.vision.config, _VISION),
    )
    for part, theirs, ours, names in parts:
        for name in names:
            there, here = getattr(theirs, name, None), getattr(ours, name)
            if there != here:
                raise RequestError(f"its {part}.{name} is {there}, but the recipe's model.backbone has {here}")


def _check_tensors(files: list[Path], backbone: Backbone) -> None:
    """Compare all shapes before anything is written."""
    wanted = {name: tuple(parameter.shape) for name, parameter in _released(backbone)}
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        with _opened(path) as file:
            for key in file.keys():  # noqa: SIM118 - a safetensors file is not a mapping
                if ours := _our_name(key):
                    found[ours] = tuple(file.get_slice(key).get_shape())
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise RequestError(f"it has no tensor for {name} {wanted[name]}")
        if name not in wanted:
            raise RequestError(f"it has {name} {found[name]}, which the recipe's model.backbone does not have")
        if found[name] != wanted[name]:
            raise RequestError(f"its {name} is {found[name]}, but the recipe's model.backbone has {wanted[name]}")


def _released(backbone: Backbone) -> Iterator[tuple[str, nn.Parameter]]:
    for part in ("vision", "projector", "gemma"):
        for name, parameter in backbone.get_submodule(part).named_parameters():
            yield f"{part}.{name}", parameter


def _our_name(key: str) -> str | None:
    """Translate a name in a file to the name of a parameter; None for unused tensors."""
    if _LEFT_OUT.search(key):
        return None
    for pattern, replacement in _OURS:
        if pattern.match(key):
            return pattern.sub(replacement, key)
    return key


def _tensors(files: list[Path]) -> Iterator[tuple[str, Tensor]]:
    for path in files:
        with _opened(path) as file:
            for key in file.keys():  # noqa: SIM118
                if ours := _our_name(key):
                    yield ours, file.get_tensor(key)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        opened = safe_open(path, framework="pt")
    except Exception as fault:
        raise RequestError(f"{path} cannot be read ({one_line(fault)})") from fault
    with opened as file:
        yield file


def _put(parameter: Tensor, values: Tensor) -> None:
    parameter.copy_(laid_like(values.to(parameter.dtype), parameter))


def _start_rows(backbone: Backbone, table: Tensor, tokenizer: WordPieceTokenizer) -> None:
    """Initialize subtask rows and learned queries from the stored, unscaled token embeddings [vocabulary, W]."""
    scale = table.shape[1] ** 0.5
    rows = [table[tokenizer.pieces(name.replace("_", " "))].float().mean(dim=0) for name in SUBTASKS]
    _put(backbone.subtask_rows, torch.stack(rows) * scale)
    size = float(table[::_SAMPLED].float().std()) * scale
    for queries in (backbone.text_queries, backbone.latent_queries, backbone.visual_queries):
        if queries is not None:
            queries.mul_(size / backbone.query_scale)
