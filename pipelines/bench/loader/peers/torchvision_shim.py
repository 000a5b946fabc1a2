"""Lets torchvision be imported beside a CPU build of torch; PyPI's is built for CUDA and some peers import it."""

from typing import Any

import torch

_KEPT: list[object] = []


def define_missing_operators() -> None:
    """Define what torchvision looks for while it is imported; nothing here calls it."""
    # torch leaves this class without types
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # A library that is collected takes its operators with it.
    _KEPT.append(library)
