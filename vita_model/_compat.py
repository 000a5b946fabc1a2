"""Make an installed torchvision importable beside a torch that its binary part does not fit.

The only torchvision wheel that PyPI has for a torch version is a CUDA build. Beside a CPU torch its binary part cannot
load, and then not only `import torchvision` fails but timm and transformers with it, since both import it where it is
installed. Two operator schemas are all that its Python part misses.
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
"""The definitions vanish with the library object that made them."""


def define_missing_ops() -> bool:
    """Define the schemas if torchvision is installed and its binary part cannot load; tell whether that was needed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or "torchvision" in sys.modules or _kept:
        return False
    folder = Path(spec.origin or "").parent
    # Imported late: without torchvision there is nothing to do.
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
    """Defines the schemas when torchvision is first looked for, by whomever: torch is not imported for it before."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find nothing itself; the next finder does."""
        if name == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            define_missing_ops()
        return None
