"""Devices by name: the type of the argument, and whether this machine has one."""

import argparse
import re

from vita_data.config.checks import require

_DEVICES = "cpu, cuda, cuda:0, cuda:1, ..."
_DEVICE = re.compile(r"(cpu|cuda)(:[0-9]{1,3})?")


def device(text: str) -> str:
    """Read the name of a device, as `cuda:1`; whether the machine has it is asked of torch later."""
    if not is_device_name(text):
        raise argparse.ArgumentTypeError(f"expected {_DEVICES}, got {text!r}")
    return text


def require_device(config: object, name: str) -> None:
    """Check a device by its name and, if it is one of CUDA's, that it is there; raises as `require`."""
    asked = getattr(config, name)
    require(config, name, fits=is_device_name(asked), wanted=_DEVICES)
    if asked.startswith("cpu"):
        return
    import torch  # which takes seconds: whatever needs it not is to answer at once

    count = torch.cuda.device_count()
    there = f" or cuda:0 to cuda:{count - 1}" if count else " (this machine has no CUDA device)"
    number = int(asked.partition(":")[2] or 0)
    require(config, name, fits=number < count, wanted=f"cpu{there}")


def is_device_name(name: object) -> bool:
    """Tell whether a value is the name of a device that torch may know."""
    return isinstance(name, str) and _DEVICE.fullmatch(name) is not None
