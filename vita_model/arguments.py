"""What `vita-train` and its verbs take."""

import argparse

from vita_data.command.arguments import address, local_path, positive, setting, word
from vita_data.command.exits import OneLineParser


def train_parser() -> OneLineParser:
    """Make the parser of `vita-train`."""
    parser = OneLineParser(
        prog="vita-train",
        description="Train one stage of VITA.",
        epilog="vita-train params RECIPE.py counts a recipe's parameters beside the paper's, and the memory it takes; "
        "vita-train export RUN DIR writes what a policy needs; vita-train preview RUN ... draws what it imagines.",
    )
    _add_recipe(parser)
    parser.add_argument(
        "--shards", type=address, required=True, metavar="DIR",
        help="folder or s3:// address that vita-data build wrote to",
    )  # fmt: skip
    parser.add_argument("--out", type=address, required=True, metavar="RUN", help="folder of the run; new, or --resume")
    parser.add_argument("--steps", type=positive, metavar="N", help="train to this step instead of the recipe's last")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in RUN")
    parser.add_argument("--allow-plan-change", action="store_true", help="let --resume go on with another mixture")
    return parser


def params_parser() -> OneLineParser:
    """Make the parser of `vita-train params`."""
    parser = OneLineParser(
        prog="vita-train params",
        description="Count a recipe's parameters beside the paper's, and its memory on each rank, without making them.",
    )
    _add_recipe(parser)
    parser.add_argument("--ranks", type=positive, default=1, metavar="N", help="ranks of the run (default 1)")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, nothing else")
    return parser


def export_parser() -> OneLineParser:
    """Make the parser of `vita-train export`."""
    parser = OneLineParser(
        prog="vita-train export", description="Write of a checkpoint only what a policy needs, to a new folder."
    )
    parser.add_argument("run", type=local_path, metavar="RUN", help="a run, or one of its checkpoints")
    parser.add_argument("out", type=local_path, metavar="DIR", help="folder to write; must not be there yet")
    parser.add_argument("--imagine", action="store_true", help="with the visual decoder, for imagined frames")
    parser.add_argument(
        "--weights", choices=("trained", "averaged"), default="trained",
        help="as they were trained, or their moving averages of a run with ema_decay (default trained)",
    )  # fmt: skip
    return parser


def preview_parser() -> OneLineParser:
    """Make the parser of `vita-train preview`."""
    parser = OneLineParser(
        prog="vita-train preview", description="Draw what a run imagines and chooses for a clip beside what happened."
    )
    parser.add_argument(
        "run", type=local_path, metavar="RUN", help="a run of stage cotrain or finetune, or a checkpoint"
    )
    parser.add_argument(
        "--shards", type=address, required=True, metavar="DIR", help="folder that vita-data build wrote to"
    )
    parser.add_argument("--source", type=word, required=True, metavar="NAME", help="source of the clip")
    parser.add_argument("--key", type=word, metavar="KEY", help="key of the clip; without it, windows of the source")
    parser.add_argument("--window", type=int, default=0, metavar="N", help="which window, from 0 (default 0)")
    parser.add_argument("--out", type=local_path, required=True, metavar="FILE.jpg", help="picture to write")
    return parser


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=local_path, metavar="RECIPE.py", help="file with a function recipe() -> Recipe")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        type=setting,
        metavar="KEY=VALUE",
        help="change a field of the recipe: manifest=PATH, init=RUN, optimizer.lr=3e-5, order.kind=window, "
        "loader.threads=4, loader.damage=substitute, loader.remote.cache=DIR ...",
    )
