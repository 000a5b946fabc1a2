"""Descriptions of released weights come from strangers too."""

import json
from pathlib import Path

import pytest

from vita_data.errors import RequestError
from vita_model.network.weights.hub import read_config, weight_files

INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "..", "", "inner/../../x", 7, ["x"]])
def test_weights_that_are_not_beside_their_index_are_refused(tmp_path: Path, name: object) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"layer": name}}))
    with pytest.raises(RequestError, match=rf"{INDEX}(: expected names of files beside it| cannot be read)"):
        weight_files(tmp_path)


@pytest.mark.parametrize("text", ["[" * 200_000, "7", '{"weight_map": 7}', "\ud800".encode(errors="surrogatepass")])
def test_descriptions_of_another_form_are_refused(tmp_path: Path, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / INDEX).write_bytes(data)
    (tmp_path / "config.json").write_bytes(data.replace(b"{", b"["))
    with pytest.raises(RequestError, match=f"{INDEX} cannot be read"):
        weight_files(tmp_path)
    with pytest.raises(RequestError, match=r"config\.json cannot be read"):
        read_config(tmp_path)
