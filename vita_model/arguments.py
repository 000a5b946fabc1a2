"""The argument parsers of `vita-train` and its verbs."""

from vita_data.command.arguments import address, local_path, positive, setting, word
from vita_data.command.exits import OneLineParser
from vita_data.command.progress import add_quiet_flag
from vita_model.training.estimate.cards import CARDS
from vita_model.training.recipes.load import RECIPES
from vita_model.training.recipes.override import setting_named


def train_parser() -> OneLineParser:
    """Make the parser of `vita-train`."""
    parser = OneLineParser(
        prog="vita-train",
        description="Train one stage of VITA: warmup, cotrain or finetune.",
        epilog="Other commands, each with its own --help: `vita-train params` counts parameters and estimates memory, "
        "`vita-train export` writes a checkpoint for inference, `vita-train preview` draws predictions next to the "
        "ground truth.",
    )
    _add_recipe(parser)
    parser.add_argument(
        "--shards", type=address, required=True, metavar="DIR",
        help="folder or s3:// address of built shards (the --out of vita-data build)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=address, required=True, metavar="RUN", help="run folder; must be new or empty unless --resume"
    )
    parser.add_argument("--steps", type=positive, metavar="N", help="stop at step N instead of the recipe's last step")
    parser.add_argument("--resume", action="store_true", help="resume from the newest checkpoint in RUN")
    parser.add_argument(
        "--change", action="append", default=[], dest="changes", type=setting, metavar="KEY=VALUE",
        help="with --resume: change a recipe field that a resumed run can change, and record it in the run; may be "
        "repeated. KEY is optimizer.NAME (lr, max_grad_norm, schedule, ...) or a setting of saving, logging or "
        "evaluation. Examples: optimizer.lr=3e-5, max_bad_steps=100",
    )  # fmt: skip
    parser.add_argument(
        "--profile", type=positive, metavar="N",
        help="trace N steps, after the first three, to RUN/profile/rank-NNNNN.json (open it with Perfetto)",
    )  # fmt: skip
    parser.add_argument("--allow-plan-change", action="store_true", help="allow --resume with a different mixture")
    add_quiet_flag(parser)
    return parser


def params_parser() -> OneLineParser:
    """Make the parser of `vita-train params`."""
    parser = OneLineParser(
        prog="vita-train params",
        description="Count a recipe's parameters and estimate its memory per rank, without allocating any weights.",
    )
    _add_recipe(parser)
    parser.add_argument("--ranks", type=positive, default=1, metavar="N", help="number of ranks (default: 1)")
    parser.add_argument(
        "--card", choices=[card.name for card in CARDS], help="say whether the run fits GPUs of this kind"
    )
    parser.add_argument("--json", action="store_true", help="print only JSON to stdout")
    return parser


def export_parser() -> OneLineParser:
    """Make the parser of `vita-train export`."""
    parser = OneLineParser(
        prog="vita-train export", description="Export the parts of a checkpoint that inference needs to a new folder."
    )
    parser.add_argument("run", type=local_path, metavar="RUN", help="run folder, or one of its checkpoints")
    parser.add_argument("out", type=local_path, metavar="DIR", help="folder to create; must not exist yet")
    parser.add_argument("--imagine", action="store_true", help="include the visual decoder, to predict future frames")
    parser.add_argument(
        "--weights", choices=("trained", "averaged"), default="trained",
        help="which weights: trained, or their moving averages (from a run with ema_decay) (default: trained)",
    )  # fmt: skip
    add_quiet_flag(parser)
    return parser


def preview_parser() -> OneLineParser:
    """Make the parser of `vita-train preview`."""
    parser = OneLineParser(
        prog="vita-train preview",
        description="Draw the frames and actions that a run predicts for a clip, next to the ground truth.",
    )
    parser.add_argument(
        "run", type=local_path, metavar="RUN", help="run folder or checkpoint of stage cotrain or finetune"
    )
    parser.add_argument(
        "--shards",
        type=address,
        required=True,
        metavar="DIR",
        help="folder of built shards (the --out of vita-data build)",
    )
    parser.add_argument("--source", type=word, required=True, metavar="NAME", help="source of the clip")
    parser.add_argument("--key", type=word, metavar="KEY", help="key of the clip (default: all clips of the source)")
    parser.add_argument("--window", type=int, default=0, metavar="N", help="index of the window, from 0 (default: 0)")
    parser.add_argument("--out", type=local_path, required=True, metavar="FILE.jpg", help="image file to write")
    return parser


def _add_recipe(parser: OneLineParser) -> None:
    parser.instead = setting_named
    parser.add_argument(
        "recipe", type=local_path, metavar="RECIPE.py",
        help="Python file that defines recipe() -> Recipe, or the name of a recipe that comes with VITA: "
        f"{', '.join(RECIPES.names())}",
    )  # fmt: skip
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        type=setting,
        metavar="KEY=VALUE",
        help="override a recipe field; may be repeated. Examples: manifest=PATH, init=RUN, optimizer.lr=3e-5, "
        "order.kind=window, loader.threads=4, loader.damage=substitute, loader.remote.cache=DIR",
    )
