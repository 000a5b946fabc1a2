"""Types of the arguments that only the model's commands have; the others are those of `vita_data.command.arguments`."""

import argparse

from vita_data.config.checks import DEVICES, is_device_name


def device(text: str) -> str:
    """Read the name of a device, as `cuda:1`; whether the machine has it is asked of torch later."""
    if not is_device_name(text):
        raise argparse.ArgumentTypeError(f"expected {DEVICES}, got {text!r}")
    return text
