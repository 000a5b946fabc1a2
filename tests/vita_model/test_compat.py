"""An installed torchvision whose binary part does not fit torch: two schemas, and nothing where all is well."""

import importlib.util
import sys

import pytest
import torch

from vita_model import _compat


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """A folder that poses as torchvision's until the test ends."""
    if "torchvision" in sys.modules:
        pytest.skip("the real one is loaded here")
    spec = importlib.util.spec_from_file_location("torchvision", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    yield tmp_path
    _compat._kept.clear()


def test_the_schemas_are_defined_once_where_the_binary_part_cannot_load(torchvision):
    (torchvision / "_C.so").write_bytes(b"built for another torch")

    assert _compat.define_missing_ops()
    assert "iou_threshold" in str(torch.ops.torchvision.nms.default._schema)
    assert not _compat.define_missing_ops()


def test_nothing_is_defined_where_the_binary_part_loads(torchvision, monkeypatch):
    (torchvision / "_C.so").touch()
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    assert not _compat.define_missing_ops()


def test_nothing_is_defined_without_torchvision(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not _compat.define_missing_ops()


def test_torch_is_imported_for_it_when_torchvision_is_looked_for_and_not_before(torchvision):
    (torchvision / "_C.so").write_bytes(b"built for another torch")
    finder = _compat.BeforeTorchvision()
    sys.meta_path.insert(0, finder)
    assert finder.find_spec("torch") is None
    assert not _compat._kept
    assert finder.find_spec("torchvision") is None
    assert _compat._kept
    assert finder not in sys.meta_path
    assert finder.find_spec("torchvision") is None
