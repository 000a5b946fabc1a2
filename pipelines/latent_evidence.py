"""What does the shared codebook contribute on held-out demonstrations? Trains variants ("arms") and compares them.

    python -m pipelines.latent_evidence [--arm NAME ...] [--seed N ...] [--work DIR] [--out FILE] [--json]

`all`: every demonstration has actions. Does the action decoder need the latents if it reads nothing else, and if it
also reads the backbone's states? How good are the latents without supervision by the codes of the true futures?
`orders`: the instruction says what a hand does with the object it holds. Do the latents follow the chosen subtasks?
`tenth`: all demonstrations have video, and a tenth has actions. What do the other videos and warmup contribute? Its
other arms are the rows of the paper's tables 6 (chains of thought) and 7 (what is taken from warmup).
An arm takes three minutes on one idle core; existing warmups in the work folder are reused.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pipelines.latent_gate import NARROW_BLOCKS, NARROW_PATCH, fitted, narrow_world_model, short_recipe
from pipelines.latent_tasks import FUTURES, Demonstrations, draw_demonstrations, draw_orders
from pipelines.latent_world import SIZE, WorldMix, WorldStream
from vita_data.command.exits import OneLineParser
from vita_data.pages.runs.seeds import mean_and_half
from vita_data.types import Batch, Modality, Stage
from vita_model.network.configs import ActionContext, Component, LatentGradient, LossConfig, VitaConfig
from vita_model.network.reasoning import VisualReasoning
from vita_model.network.vita import Vita
from vita_model.training.checkpoint.run_folder import step_name
from vita_model.training.evaluation.evaluate import evaluate
from vita_model.training.recipes.recipe import Recipe, resolved

NUM_DEMONSTRATIONS, TENTH = 1000, 0.1
NUM_STEPS = 500
"""Steps of warmup, and of co-training."""
_HELD_OUT_SEED, _NUM_HELD_OUT, _HELD_OUT_BATCH = 10_000_000, 256, 256
_SIZES = {Modality.PAIRED: 32, Modality.VIDEO: 32, Modality.ACTION: 64}
_TEXT = 8

FIGURES = (
    "actions/mse", "actions/shuffled_mse", "actions/mean_latent_mse", "actions/shuffled_subtasks_mse",
    "actions/mean_mse", "frames/l1", "frames/shuffled_l1", "frames/copy_l1", "subtasks/distinct",
)  # fmt: skip
"""Columns of the table (`vita_model.training.evaluation.latents.KEYS`, `vita_model.training.evaluation.evaluate`)."""
COMPARED = (("all", "all-states"), ("tenth-no-video", "tenth"), ("tenth", "all"))
"""Pairs of arms whose action errors are compared per seed."""

_WITH_VIDEO = (
    WorldMix(cycle=(Modality.PAIRED, Modality.VIDEO, Modality.PAIRED, Modality.ACTION), sizes=_SIZES),
    WorldMix(cycle=(Modality.VIDEO, Modality.PAIRED), sizes=_SIZES),
)
_WITHOUT_VIDEO = (
    WorldMix(cycle=(Modality.PAIRED, Modality.PAIRED, Modality.PAIRED, Modality.ACTION), sizes=_SIZES),
    WorldMix(cycle=(Modality.PAIRED,), sizes=_SIZES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One variant of training."""

    share_with_actions: float = 1.0
    context: ActionContext = ActionContext.NONE
    sees_video: bool = True
    """Whether to train on the video of demonstrations without actions."""
    warms_up: bool = True
    """Whether there is a warmup; otherwise codes are learned in co-training."""
    tokens: float = 1.0
    """`loss.tokens`: cross-entropy between latent tokens and the codes of the true futures. With 0, they only learn
    from the decoders' errors, straight-through their nearest codes."""
    draws: Callable[..., Demonstrations] = draw_demonstrations
    subtasks: float = 0.0
    """`loss.subtasks`: supervision by weak labels."""
    subtask_entropy: float = 0.0
    hides_text: bool = False
    """`cot.hides_text`."""
    text: bool = True
    """`cot.text`."""
    visual: VisualReasoning = VisualReasoning.INTERNAL
    """`cot.visual`. With NONE, co-training draws no video, because there are no frames to predict."""
    shared: bool = True
    """`codebook.shared`."""
    init_parts: tuple[Component, ...] | None = None
    """Parts that co-training takes from warmup. None: all."""


_CODES = (Component.VISUAL_ENCODER, Component.CODEBOOK)

ARMS: Mapping[str, Arm] = {
    "all": Arm(),
    "all-states": Arm(context=ActionContext.STATES),
    "all-untaught": Arm(tokens=0.0),
    "all-states-untaught": Arm(context=ActionContext.STATES, tokens=0.0),
    "orders": Arm(draws=draw_orders),
    "orders-labels": Arm(draws=draw_orders, subtasks=1.0),
    "orders-hidden": Arm(draws=draw_orders, hides_text=True),
    "orders-hidden-entropy": Arm(draws=draw_orders, hides_text=True, subtask_entropy=0.3),
    "orders-hidden-labels": Arm(draws=draw_orders, hides_text=True, subtasks=1.0),
    "tenth": Arm(share_with_actions=TENTH),
    "tenth-no-video": Arm(share_with_actions=TENTH, sees_video=False),
    "tenth-no-warmup": Arm(share_with_actions=TENTH, warms_up=False, tokens=0.0),
    "tenth-no-cot": Arm(share_with_actions=TENTH, text=False, visual=VisualReasoning.NONE),
    "tenth-textual": Arm(share_with_actions=TENTH, visual=VisualReasoning.NONE),
    "tenth-visual": Arm(share_with_actions=TENTH, text=False, visual=VisualReasoning.EXPLICIT, shared=False),
    "tenth-textual-visual": Arm(share_with_actions=TENTH, visual=VisualReasoning.EXPLICIT, shared=False),
    "tenth-internal": Arm(share_with_actions=TENTH, text=False),
    "tenth-no-warmup-apart": Arm(share_with_actions=TENTH, warms_up=False, shared=False, tokens=0.0),
    "tenth-codebook": Arm(share_with_actions=TENTH, init_parts=_CODES),
    "tenth-visual-decoder": Arm(share_with_actions=TENTH, init_parts=(*_CODES, Component.VISUAL_DECODER)),
}
"""Their names; the last eight and `tenth` are the rows of the paper's tables 6 and 7."""


def task_model(arm: Arm) -> VitaConfig:
    """Make the gate's model at half the width, with a backbone, for windows of `FUTURES` seconds."""
    model, blocks = narrow_world_model(), NARROW_BLOCKS
    latents = model.latents if arm.tokens else replace(model.latents, gradient=LatentGradient.NEAREST)
    return replace(
        model,
        cot=replace(model.cot, hides_text=arm.hides_text, text=arm.text, visual=arm.visual),
        action_decoder=replace(model.action_decoder, context=arm.context),
        codebook=replace(model.codebook, freeze=arm.warms_up, shared=arm.shared),
        backbone=replace(
            model.backbone, vision=blocks, language=blocks, head_width=blocks.width // blocks.num_heads,
            image_size=SIZE, patch_size=NARROW_PATCH, num_latents=FUTURES, max_text_tokens=_TEXT, num_subtasks=2,
        ),
        latents=latents,
    )  # fmt: skip


def recipe_of(arm: Arm, stage: Stage, *, seed: int, num_steps: int, init: Path | None) -> Recipe:
    """Make the recipe for a stage of an arm."""
    recipe = short_recipe(stage, task_model(arm), seed=seed, num_steps=num_steps)
    return resolved(replace(
        recipe, name="tasks", loss=_loss_of(arm), init=None if init is None else str(init),
        init_parts=None if init is None else arm.init_parts, num_supervised_frames=1, keep_last=1,
    ))  # fmt: skip


def _loss_of(arm: Arm) -> LossConfig:
    return LossConfig(tokens=arm.tokens, subtasks=arm.subtasks, subtask_entropy=arm.subtask_entropy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Trains arms on the demonstrations of one seed; runs are stored in the work folder."""

    work: Path
    seed: int
    num_steps: int = NUM_STEPS
    num_demonstrations: int = NUM_DEMONSTRATIONS
    num_held_out: int = _NUM_HELD_OUT

    def figures(self, name: str) -> dict[str, float]:
        """Train an arm, and give the latent report of co-training on held-out windows."""
        arm = ARMS[name]
        shown = arm.draws(self.num_demonstrations, 1000 + self.seed, share_with_actions=arm.share_with_actions)
        warmup, cotrain = _WITH_VIDEO if arm.sees_video else _WITHOUT_VIDEO
        if arm.visual is VisualReasoning.NONE:
            _, cotrain = _WITHOUT_VIDEO
        init = None
        if arm.warms_up:
            init = self.work / f"warmup-{_same_warmup(arm)}-{self.seed}"
            recipe = recipe_of(arm, Stage.WARMUP, seed=self.seed, num_steps=self.num_steps, init=None)
            if not (init / "checkpoints" / step_name(self.num_steps)).is_dir():
                trained(recipe, shown, warmup, init, futures=1)
        recipe = recipe_of(arm, Stage.COTRAIN, seed=self.seed, num_steps=self.num_steps, init=init)
        model = trained(recipe, shown, cotrain, self.work / f"{name}-{self.seed}", futures=FUTURES)
        held_out = arm.draws(self.num_held_out, _HELD_OUT_SEED)
        batches = held_out.every_window(_HELD_OUT_BATCH, futures=FUTURES)
        return evaluate(model, Stage.COTRAIN, batches, shown.statistics(), LossConfig())


def _same_warmup(arm: Arm) -> str:
    """Give a name that arms with the same warmup have in common."""
    name = f"{arm.draws.__name__}-{arm.context}-{arm.share_with_actions}-{arm.sees_video}"
    return name if arm.shared else f"{name}-apart"


def trained(recipe: Recipe, shown: Demonstrations, mix: WorldMix, run: Path, *, futures: int) -> Vita:
    """Train a stage on demonstrations."""

    def draw(modality: Modality, size: int, seed: int) -> Batch:
        return shown.draw(modality, size, seed, futures=futures)

    run.mkdir(parents=True, exist_ok=True)
    stream = WorldStream(mix, seed=recipe.seed, draw=draw)
    return fitted(recipe, stream, run, statistics=shown.statistics(), report=lambda line: print(line, file=sys.stderr))


def interval(values: Sequence[float]) -> str:
    """Format the mean over seeds with its 95% interval."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    mean, half = mean_and_half(values)
    return f"{mean:.4f} ± {half:.4f}"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format results as a table by arm: the mean over seeds of each figure, with its interval."""
    lines = ["| arm | seeds | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 2) + "|"]
    for name in dict.fromkeys(str(row["arm"]) for row in rows):
        found = [row for row in rows if row["arm"] == name]
        cells = [_cell(found, figure) for figure in FIGURES]
        lines.append(f"| {name} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: Sequence[Mapping[str, object]], figure: str) -> str:
    """Format one cell; empty if the arm does not have the figure, as frames without visual reasoning."""
    values = [float(str(row[figure])) for row in rows if figure in row]
    return interval(values) if values else ""


def difference(rows: Sequence[Mapping[str, object]], worse: str, better: str) -> str:
    """Format by how much the action error of one arm exceeds that of another, per seed."""
    errors = {(row["arm"], row["seed"]): float(str(row["actions/mse"])) for row in rows}
    seeds = [seed for arm, seed in errors if arm == worse and (better, seed) in errors]
    apart = [errors[worse, seed] - errors[better, seed] for seed in seeds]
    return f"actions/mse, {worse} minus {better}, over the same seeds: {interval(apart)}" if apart else ""


def main(argv: list[str] | None = None) -> int:
    """Run the selected arms."""
    parser = OneLineParser(
        prog="latent_evidence", description="Measure on held-out data what the shared codebook contributes."
    )
    parser.add_argument("--arm", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    parser.add_argument("--work", type=Path, help="folder to keep the runs in (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="JSON Lines file to append each result to")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seed:
            experiment = Experiment(work=arguments.work or Path(folder), seed=seed, num_steps=arguments.steps)
            for name in arguments.arm:
                rows.append({"arm": name, "seed": seed, **experiment.figures(name)})
                if arguments.out is not None:
                    with arguments.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    compared = [line for pair in COMPARED if (line := difference(rows, *pair))]
    print(json.dumps(rows, indent=1) if arguments.json else "\n".join([table(rows), "", *compared]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
