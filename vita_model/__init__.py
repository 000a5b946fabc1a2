"""The VITA network, its three training stages, and inference: from batches of `vita_data.loader` to policies.

    policy = vita_model.VitaPolicy.from_pretrained("runs/finetune")
    policy.act({"primary": image, "instruction": "lift the cube"})

`VitaPolicy` and `PolicyOptions` are loaded, with torch, when they are first used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from vita_model._compat import BeforeTorchvision

if TYPE_CHECKING:
    from vita_model.policy.policy import PolicyOptions, VitaPolicy

__all__ = ["PolicyOptions", "VitaPolicy"]

# timm and transformers import torchvision if it is installed.
sys.meta_path.insert(0, BeforeTorchvision())


def __getattr__(name: str) -> object:
    if name not in __all__:
        fault = f"module 'vita_model' has no attribute {name!r}"
        raise AttributeError(fault, name=name, obj=sys.modules[__name__])  # Python then suggests a name
    from vita_data.installation import naming_extra

    with naming_extra():
        return getattr(import_module("vita_model.policy.policy"), name)


def __dir__() -> list[str]:
    return __all__
