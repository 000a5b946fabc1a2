"""Device names: parse them, and check that this machine has the device."""

import argparse
import re

from vita_data.config.checks import require

_DEVICES = "cpu, cuda, cuda:0, cuda:1, ..."
_DEVICE = re.compile(r"(cpu|cuda)(:[0-9]{1,3})?")


def device(text: str) -> str:
    """Parse the name of a device, such as `cuda:1`; `require_device` checks whether the machine has it."""
    if not is_device_name(text):
        raise argparse.ArgumentTypeError(f"expected {_DEVICES}, got {text!r}")
    return text


def require_device(config: object, name: str) -> None:
    """Check the name of a device and, for CUDA, that the device exists; raises as `require`."""
    asked = getattr(config, name)
    require(config, name, fits=is_device_name(asked), wanted=_DEVICES)
    if asked.startswith("cpu"):
        return
    import torch  # imported late, because it takes seconds

    count = torch.cuda.device_count()
    there = f" or cuda:0 to cuda:{count - 1}" if count else " (this machine has no CUDA device)"
    number = int(asked.partition(":")[2] or 0)
    require(config, name, fits=number < count, wanted=f"cpu{there}")


def is_device_name(name: object) -> bool:
    """Tell whether a value is the name of a CPU or CUDA device."""
    return isinstance(name, str) and _DEVICE.fullmatch(name) is not None
