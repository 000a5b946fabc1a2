"""Lets torchvision be imported beside a CPU build of torch; PyPI's is built for CUDA and some peers import it."""

import torch


def define_missing_operators() -> None:
    """Define what torchvision looks for while it is imported; nothing here calls it."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # A library that is collected takes its operators with it.
    _KEPT.append(library)


_KEPT: list[object] = []
