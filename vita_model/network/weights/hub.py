"""Folders of released weights in the Hugging Face format: local, from the hub's cache, or downloaded."""

import json
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download, try_to_load_from_cache

from vita_data.errors import RequestError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ANSWER_S = 10.0
"""Time limit for the hub's first answer; its client alone would retry for minutes."""
_MAX_REASON = 200


def find_folder(name: str, *, also: Sequence[str] = ()) -> Path:
    """Find weights by folder path or hub name; `also` lists other files that are needed.

    Raises:
        RequestError: the folder does not exist, and the hub has no model of that name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        raise RequestError("expected a folder or hub name, got a file")
    return path if path.is_dir() else hub_folder(name, also=also)


def hub_folder(name: str, *, also: Sequence[str] = ()) -> Path:
    """Find a model in the hub's cache or download it; fail immediately if the hub does not answer.

    Raises:
        RequestError: the model cannot be downloaded.
    """
    try:
        cached = cached_folder(name)
        if cached and _is_whole(cached) and all((cached / file).is_file() for file in also):
            return cached
        get_hf_file_metadata(hf_hub_url(name, CONFIG), timeout=_ANSWER_S)
        return Path(snapshot_download(name, allow_patterns=[CONFIG, _INDEX, "model*.safetensors", *also]))
    except Exception as fault:
        raise RequestError(f"not found, neither as a folder nor on the Hugging Face hub ({one_line(fault)})") from fault


def cached_folder(name: str) -> Path | None:
    """Find a model in the hub's cache without asking the hub."""
    cached = try_to_load_from_cache(name, CONFIG)
    return Path(cached).parent if isinstance(cached, str) else None


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a folder: one file, or the shards in its index.

    Raises:
        RequestError: the folder has no such file, or the index cannot be read.
    """
    index = folder / _INDEX
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not index.is_file():
        raise RequestError(f"{folder} has no {WEIGHTS}")
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        raise RequestError(f"{index} cannot be read ({one_line(fault)})") from fault
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".."):
            raise RequestError(f"{index}: expected names of files beside it, got {name!r:.200}; fetch the model again")
    return [folder / name for name in names]


def read_config(folder: Path) -> dict[str, object]:
    """Read config.json.

    Raises:
        RequestError: the file does not exist or cannot be read.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise RequestError(f"{folder} has no {path.name}")
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise RequestError(f"{path} cannot be read ({one_line(fault)})") from fault


def one_line(fault: Exception) -> str:
    """Shorten the message of another library's error to one line of limited length."""
    text = " ".join(str(fault).split()) or type(fault).__name__
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."


def _is_whole(folder: Path) -> bool:
    try:
        return all(path.is_file() for path in weight_files(folder))
    except RequestError:
        return False
