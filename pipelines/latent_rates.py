"""Must a chunk cover the second between its frames? Runs warmup on one world recorded at several rates.

    python -m pipelines.latent_rates [--hz N ...] [--chunk second native] [--seed N ...] [--steps N] [--out FILE]

`second`: the chunk has 12 samples of the second between the two frames (`WindowSpec.chunk_s=1.0`). `native`: it has 12
native steps, which cover 4 s at 3 Hz and 0.4 s at 30 Hz. Motions in different seconds are independent, and the speed
varies within a second, so that the first 0.4 s do not determine where the hand ends.
It takes about a minute per rate, chunk and seed on one idle core; the model has half the width of the gate's.
"""

import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.latent_gate import fitted, measured, narrow_world_model, short_recipe
from pipelines.latent_world import (
    HORIZON,
    MOVED,
    NUM_DIMS,
    PAIRED_MIX,
    REACH,
    Scenes,
    WorldStream,
    as_modality,
    draw_moves,
    next_gripper,
    painted,
    scenes_of,
)
from vita_data.command.exits import OneLineParser
from vita_data.loader.windows.resample import TimedChunk, resampled
from vita_data.types import Batch, Modality, Stage
from vita_model.training.recipes.recipe import resolved

RATES = (3, 5, 15, 30)
NUM_STEPS = 600
_CELLS = 30
"""Time steps per second of the drawn motion; every rate divides it."""
_SECONDS = 4
_KNOTS = 5
"""Points per second between which the speed is linear."""
_DEVIATION = 0.5
"""Standard deviation of the speed at these points, in reaches per second."""

FIGURES = (
    "world/motion_r2", "cross/over_mean", "cross/over_mean_at_best", "codes/agreement", "codes/agreement_chance",
    "frames/own_over_shuffled", "codes/rank_video",
)  # fmt: skip
"""Columns of the table."""


class Chunk(StrEnum):
    """The time that a chunk covers."""

    SECOND = "second"
    NATIVE = "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The rate of a recording, and the time that its chunks cover."""

    hz: int
    chunk: Chunk

    def draw(self, size: int, seed: int) -> Scenes:
        """Draw windows; the same seed gives the same motion and frames at each rate."""
        generator = torch.Generator().manual_seed(seed)
        moves = draw_moves(size, generator)
        frames = painted(moves, generator)
        later = (2 * torch.rand(size, _SECONDS - 1, 2, generator=generator) - 1) * REACH
        steps = torch.cat([(moves.stop - moves.start)[:, None], later], dim=1) / REACH
        speed = _uneven(steps, generator)
        gripper = _switched(moves.grippers, generator)
        return scenes_of(moves, frames, self.cut(speed, gripper), seed)

    def cut(self, speed: Tensor, gripper: Tensor) -> Tensor:
        """Sample speeds [B, N, 2] in reaches per second and grippers [B, N], and make chunks [B, H, 3].

        A native step has the mean speed over its duration, and the gripper at its end.
        """
        width = _CELLS // self.hz
        rows = torch.cat([speed.unfold(1, width, width).mean(dim=-1), gripper[:, width - 1 :: width, None]], dim=-1)
        return rows[:, :HORIZON] if self.chunk is Chunk.NATIVE else _over_a_second(rows[:, : self.hz], self.hz)

    def batch(self, modality: Modality, size: int, seed: int) -> Batch:
        """Draw windows with a modality."""
        return as_modality(self.draw(size, seed).batch, modality)


def _uneven(steps: Tensor, generator: torch.Generator) -> Tensor:
    """Give speeds [B, N, 2] for displacements [B, S, 2] per second; they vary, but add up to the displacements."""
    size = steps.shape[:2].numel()
    knots = _DEVIATION * torch.randn(size, 2, _KNOTS, generator=generator)
    varied = F.interpolate(knots, size=_CELLS, mode="linear", align_corners=True)
    varied = varied - varied.mean(dim=-1, keepdim=True)
    return (steps.flatten(0, 1)[..., None] + varied).transpose(1, 2).reshape(len(steps), -1, 2)


def _switched(first: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    """Give grippers [B, N], -1 closed and 1 open, that switch at a random time within a second."""
    before, after = first
    seconds = []
    for _ in range(_SECONDS):
        moment = torch.randint(_CELLS, (len(before), 1), generator=generator)
        seconds.append(torch.where(torch.arange(_CELLS) < moment, before[:, None], after[:, None]))
        before, after = after, next_gripper(after, generator)
    return 2 * torch.cat(seconds, dim=1) - 1


def _over_a_second(rows: Tensor, hz: int) -> Tensor:
    """Resample the native steps [B, hz, 3] of a second to samples [B, H, 3], with the loader's function."""
    size = len(rows)
    arm = np.zeros((size, hz, NUM_DIMS), np.float32)
    arm[:, :, MOVED] = rows.numpy()
    mask = np.zeros((size, NUM_DIMS), bool)
    mask[:, MOVED[0] :] = True
    chunk = TimedChunk(
        offset=np.broadcast_to(np.arange(hz), (size, hz)), moves=np.ones((size, hz), bool),
        real=np.ones((size, HORIZON), bool), steps_per_sample=np.full(size, hz / HORIZON),
    )  # fmt: skip
    return torch.from_numpy(resampled(chunk, arm, mask)[:, :, MOVED])


def least_error(recording: Recording, *, size: int = 4096, seed: int = 20_000_000) -> float:
    """Give the least error that any code of the video can reach, relative to the error of the mean chunk.

    The expected chunk is linear in the displacement and the grippers, so that least squares gives the best prediction.
    """
    action, moves = recording.draw(size, seed).batch.action, draw_moves(size, torch.Generator().manual_seed(seed))
    if action is None:
        raise ValueError("expected windows with actions, got none")
    true = action[:, :, MOVED].double()
    known = torch.cat([torch.ones(size, 1), moves.motion, torch.stack(moves.grippers, dim=1)], dim=1).double()
    apart = true.flatten(1) - known @ torch.linalg.lstsq(known, true.flatten(1)).solution
    return float(apart.square().mean() / (true - true.mean(dim=(0, 1))).square().mean())


def figures(recording: Recording, *, seed: int, num_steps: int = NUM_STEPS) -> dict[str, float]:
    """Run the default warmup on a recording, and give the latent report on its held-out windows."""
    recipe = resolved(short_recipe(Stage.WARMUP, narrow_world_model(), seed=seed, num_steps=num_steps))
    stream = WorldStream(PAIRED_MIX, seed=seed, draw=recording.batch)
    with tempfile.TemporaryDirectory() as folder:
        model = fitted(recipe, stream, Path(folder), statistics={}, report=lambda line: print(line, file=sys.stderr))
    found = measured(model, recording.draw)
    return found | {
        "cross/over_mean": found["cross/action_mse"] / found["cross/action_mean_mse"],
        "cross/over_mean_at_best": least_error(recording),
        "frames/own_over_shuffled": found["frames/l1"] / found["frames/shuffled_l1"],
    }


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format results as a table by rate and chunk: the mean over seeds of each figure."""
    lines = ["| chunk | seeds | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 2) + "|"]
    for name in dict.fromkeys((row["hz"], row["chunk"]) for row in rows):
        found = [row for row in rows if (row["hz"], row["chunk"]) == name]
        means = [statistics.fmean(float(str(row[figure])) for row in found) for figure in FIGURES]
        cells = [f"{mean:.3f}" for mean in means]
        lines.append(f"| {name[0]} Hz, {name[1]} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the selected rates and chunks."""
    parser = OneLineParser(
        prog="latent_rates", description="Compare chunks that cover one second with chunks of native steps."
    )
    parser.add_argument("--hz", nargs="+", type=int, choices=RATES, default=list(RATES))
    parser.add_argument("--chunk", nargs="+", type=Chunk, choices=list(Chunk), default=list(Chunk))
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    parser.add_argument("--out", type=Path, help="JSON Lines file to append each result to")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for seed, hz, chunk in itertools.product(arguments.seed, arguments.hz, arguments.chunk):
        found = figures(Recording(hz=hz, chunk=chunk), seed=seed, num_steps=arguments.steps)
        rows.append({"hz": hz, "chunk": chunk, "seed": seed, **found})
        if arguments.out is not None:
            with arguments.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
