"""Make an installed torchvision importable although its binary extension does not match the installed torch.

PyPI's torchvision wheels are CUDA builds. With a CPU build of torch, the binary extension cannot be loaded. Then
`import torchvision` fails, and so do timm and transformers, which import torchvision if it is installed. Its Python
part only needs two operator schemas.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[object] = []
"""Keeps the library object alive, because the definitions disappear with it."""


def define_missing_ops() -> bool:
    """Define the schemas if torchvision's binary extension cannot be loaded; returns whether that was needed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or "torchvision" in sys.modules or _kept:
        return False
    folder = Path(spec.origin or "").parent
    # Imported late, because torch is not needed without torchvision.
    import torch

    try:
        for binary in folder.glob("_C*"):
            torch.ops.load_library(str(binary))  # type: ignore[no-untyped-call]
            return False
    except (OSError, RuntimeError):
        pass
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _MISSING:
        library.define(schema)  # type: ignore[no-untyped-call]
    _kept.append(library)
    return True


class BeforeTorchvision(MetaPathFinder):
    """Defines the schemas when torchvision is first imported, so that torch is not imported earlier than needed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Define the schemas, and leave finding the module to the next finder."""
        if name == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            define_missing_ops()
        return None
