"""Reads the viewer's data files as the page does: a script that hands over a name and a value."""

import base64
import json
import re
from typing import Any

import numpy as np
import simplejpeg

from vita_data.pages.viewer.files import ViewerFiles
from vita_data.types import Float32, Image


def taken(data: bytes | None, name: str) -> Any:
    assert data is not None, name
    text = data.decode("ascii")
    found = re.fullmatch(r"VITA\.take\((\"[^\"]+\"), (.*)\);\n", text)
    assert found is not None, text[:200]
    assert json.loads(found[1]) == name
    return json.loads(found[2])


def value(files: ViewerFiles, name: str) -> Any:
    return taken(files.read(name), name)


def floats(text: str, num_columns: int) -> Float32:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(num_columns, -1)


def pixels(text: str) -> Image:
    found: Image = simplejpeg.decode_jpeg(base64.b64decode(text))
    return found
