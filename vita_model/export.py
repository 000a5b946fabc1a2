"""`vita-train export`: of a checkpoint only what choosing actions needs, as a folder that `VitaPolicy` loads."""

import argparse
from pathlib import Path

from vita_model.checkpoint import ExportWeights, export_components, find_checkpoint
from vita_model.policy import CONTROL
from vita_model.vita import Component


def export(folder: Path, out: Path, *, imagine: bool, weights: ExportWeights = ExportWeights.TRAINED) -> Path:
    """Write the newest checkpoint of a run, without optimizer and encoders, to a new folder.

    Raises:
        RequestError: there is no checkpoint, it lacks a part or averages, or `out` is there already.
        VitaDataError: the checkpoint is damaged.
    """
    wanted = (*CONTROL, Component.VISUAL_DECODER) if imagine else CONTROL
    export_components(find_checkpoint(folder), out, wanted, weights)
    return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `vita-train export`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run, or one of its checkpoints")
    parser.add_argument("out", type=Path, metavar="DIR", help="folder to write; must not be there yet")
    parser.add_argument("--imagine", action="store_true", help="with the visual decoder, for imagined frames")
    parser.add_argument(
        "--weights", type=ExportWeights, choices=list(ExportWeights), default=ExportWeights.TRAINED,
        help="as they were trained, or their moving averages of a run with ema_decay (default trained)",
    )  # fmt: skip
