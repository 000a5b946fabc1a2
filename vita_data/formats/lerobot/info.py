"""`meta/info.json` of a LeRobot dataset: format version, rate, features and path templates.

Source: huggingface/lerobot, datasets of codebase_version v2.0, v2.1 and v3.0.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from string import Formatter

from vita_data.errors import RequestError
from vita_data.formats.limits import MAX_PATH_CHARS
from vita_data.formats.raw_tree.regular import is_below
from vita_data.types import Json

INFO_FILE = "meta/info.json"
ODD = (ValueError, KeyError, TypeError, IndexError, ArithmeticError)
"""Exceptions of a missing field or a field of another type."""
_VARIABLE = re.compile(r"episode_chunk|episode_index|chunk_index|file_index|video_key")
_FORMAT = re.compile(r"0?\d{0,2}d?|s")
"""A greater width would make a path of any length."""
_SUPPORTED = {"2.0": 2, "2.1": 2, "3.0": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTemplates:
    """The paths of a dataset's files, with variables in braces, relative to `root`."""

    root: str
    table: str
    video: str
    """Empty if the dataset has no videos."""


def layout_of(info: Json, *, name: str) -> int:
    """Return 2 or 3: one file per episode, or several episodes per file.

    Args:
        info: the content of the file.
        name: the path of the file, for messages.

    Raises:
        RequestError: the dataset has another format version.
    """
    version = str(info["codebase_version"])
    number = version.removeprefix("v")
    if number not in _SUPPORTED:
        raise RequestError(
            f"{name}: expected LeRobot format v2.0, v2.1 or v3.0, got {version}; convert the dataset with the scripts "
            "of lerobot"
        )
    return _SUPPORTED[number]


def features_of(info: Json) -> Mapping[str, Json]:
    """Return the description of each feature."""
    found = info["features"]
    if not isinstance(found, dict) or not all(isinstance(one, dict) and "dtype" in one for one in found.values()):
        raise TypeError("features must be an object whose values are objects with a dtype")
    return found


def keys_of(info: Json, dtype: str) -> tuple[str, ...]:
    """List the features of one dtype, such as `video`."""
    return tuple(key for key, feature in features_of(info).items() if feature["dtype"] == dtype)


def fps_of(info: Json) -> float:
    """Return the rate that the dataset claims to have."""
    fps = float(str(info["fps"]))
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be greater than 0, found {fps:g}")
    return fps


def templates_of(info: Json, root: str) -> PathTemplates:
    """Return the templates of the paths."""
    video = _template(info, "video_path") if keys_of(info, "video") else ""
    return PathTemplates(root=root, table=_template(info, "data_path"), video=video)


def fill(template: str, **values: int | str) -> str:
    """Fill the variables of a template in.

    Raises:
        ValueError: a value leads out of the dataset, or makes a path that is longer than any.
        KeyError: the template has a variable of the other layout.
    """
    path = template.format(**values)
    if not is_below(path) or len(path) > MAX_PATH_CHARS:
        raise ValueError(f"the path {path!r:.200} leads out of the dataset; only files inside it are read")
    return path


def join(root: str, path: str) -> str:
    """Return the path of a dataset's file in the raw tree."""
    return str(PurePosixPath(root) / path)


def explain(error: Exception, layout: int) -> str:
    """Describe in which way a meta file deviates from its format."""
    return f"not in LeRobot v{layout} format ({type(error).__name__}: {error})"


def _template(info: Json, key: str) -> str:
    if not isinstance(found := info[key], str):
        raise TypeError(f"{key} is {found!r:.80}")
    for _, variable, form, conversion in Formatter().parse(found):
        if variable is not None and (
            conversion or not _VARIABLE.fullmatch(variable) or not _FORMAT.fullmatch(form or "")
        ):
            raise ValueError(
                f"{key} is {found!r:.200}: expected variables like {{episode_index:06d}}, got {{{variable:.40}}}"
            )
    if not is_below(found):
        raise ValueError(f"{key} is {found!r:.200}, which leads out of the dataset; only files inside it are read")
    return found
