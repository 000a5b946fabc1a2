"""Make torchvision importable with a CPU build of torch: PyPI's wheel is built for CUDA, and some peers import it."""

from typing import Any

import torch

_KEPT: list[object] = []


def define_missing_operators() -> None:
    """Define the operators that torchvision needs during its import; they are never called."""
    # torch has no types for this class
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # The operators disappear if the library object is garbage-collected.
    _KEPT.append(library)
