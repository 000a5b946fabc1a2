"""What a trained model's reconstructions are worth: beside trivial predictors, in physical units, source by source.

The trivial predictors: the present frame as the future, and a source's mean action at every step. A model that does not
beat them has learned nothing of use, whatever its loss.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vita_data.loader.normalize import ACTION14, Scaling, action_scaling
from vita_data.storage import write_atomically
from vita_data.types import Batch, Float32, Json, Stage
from vita_model.configs import LossConfig
from vita_model.distributed import all_names, all_sum
from vita_model.losses import absolute_error, ssim
from vita_model.stages import RULES, set_modes
from vita_model.vita import ActionPrediction, Draws, FramePrediction, Prediction, Vita

_ARMS = (slice(0, 7), slice(7, 14))
EVALUATION = "evaluation.json"


@dataclass(slots=True)
class _Sums:
    """Weighted sums by name, of all ranks in the end."""

    device: torch.device
    totals: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Add values where the mask, of the same shape, is True."""
        pair = torch.stack([torch.where(mask, values.double(), 0.0).sum(), mask.double().sum()]).cpu()
        self.totals[name] = self.totals[name] + pair if name in self.totals else pair

    def means(self) -> dict[str, float]:
        """Average over all that was added, on all ranks."""
        # A rank may have met sources that another has not.
        nothing = torch.zeros(2, dtype=torch.float64)
        found = {
            name: all_sum(self.totals.get(name, nothing).to(self.device)).tolist() for name in all_names(self.totals)
        }
        return {name: total / count for name, (total, count) in found.items() if count}


@torch.no_grad()
def evaluate(
    model: Vita, stage: Stage, batches: Iterable[Batch], statistics: Mapping[str, Json], config: LossConfig
) -> dict[str, float]:
    """Measure a model on batches; it stays as it was. Every rank must call this with as many batches.

    Returns:
        `frames/loss`, `frames/copy_loss` (weighted L1 and SSIM, of the prediction and of the copied present frame),
        `frames/l1`, `frames/ssim`, `frames/psnr_db`, `actions/mse`, `actions/mean_mse` (normalized units; of the mean
        action), and for each source `actions/NAME/position_m`, `rotation_rad`, `gripper` with `mean_position_m` and
        `mean_rotation_rad` beside them: the mean distance per step, rotations as differences of small Euler angles.
        `frames/shuffled_loss` and `actions/shuffled_mse` are of decoders that were given another sample's latents.
        `codes/used` is the part of the codebook that any of the batches used.
    """
    device = model.codebook.codes.device
    sums, used = _Sums(device), torch.zeros(model.config.codebook.num_codes, device=device)
    model.eval()
    try:
        for batch in batches:
            prediction = RULES[stage].predict(model, batch, Draws())
            for quantized in prediction.quantized:
                used[quantized.indices.flatten()] = 1.0
            if prediction.frames is not None:
                _add_frames(sums, prediction.frames, config)
            if prediction.actions is not None:
                _add_actions(sums, prediction.actions, batch.source, statistics)
            if prediction.reasoning is not None:
                with_frames = prediction.frames is not None
                shuffled = model.decode(batch, prediction.reasoning, _shuffled(batch), with_frames=with_frames)
                _add_shuffled(sums, shuffled, config)
    finally:
        set_modes(model, stage)
    return {**sums.means(), "codes/used": float((all_sum(used) > 0).float().mean())}


def _shuffled(batch: Batch) -> Draws:
    """Have every sample decoded from the latents of the one before it."""
    return Draws(latent_order=torch.arange(len(batch.key)).roll(1))


def _add_shuffled(sums: _Sums, prediction: Prediction, config: LossConfig) -> None:
    """Add errors of decoders that read somebody else's latents: no worse means that they do not read them."""
    frames, actions = prediction.frames, prediction.actions
    if frames is not None:
        images, true = frames.predicted.flatten(0, 1).float().clamp(0, 1), frames.true.flatten(0, 1)
        error = config.l1 * absolute_error(images, true) + config.ssim * (1 - ssim(images, true))
        sums.add("frames/shuffled_loss", error, frames.mask.flatten())
    if actions is not None:
        true = torch.where(actions.mask, actions.true, 0.0).float()
        sums.add("actions/shuffled_mse", (actions.predicted.float() - true).square(), actions.mask)


def _add_frames(sums: _Sums, frames: FramePrediction, config: LossConfig) -> None:
    true, mask = frames.true.flatten(0, 1), frames.mask.flatten()
    copied = frames.start[:, None].expand_as(frames.true).flatten(0, 1)
    for prefix, images in (("", frames.predicted.flatten(0, 1).float().clamp(0, 1)), ("copy_", copied)):
        distance, alike = absolute_error(images, true), ssim(images, true)
        squared = (images - true).square().mean(dim=(1, 2, 3)).clamp(min=1e-10)
        sums.add(f"frames/{prefix}l1", distance, mask)
        sums.add(f"frames/{prefix}ssim", alike, mask)
        sums.add(f"frames/{prefix}psnr_db", -10 * squared.log10(), mask)
        sums.add(f"frames/{prefix}loss", config.l1 * distance + config.ssim * (1 - alike), mask)


def _add_actions(sums: _Sums, actions: ActionPrediction, sources: list[str], statistics: Mapping[str, Json]) -> None:
    mask, true = actions.mask, torch.where(actions.mask, actions.true, 0.0).float()
    mean = (
        torch.stack([_mean_action(statistics, source) for source in sources]).to(true.device)[:, None].expand_as(true)
    )
    for prefix, guess in (("", actions.predicted.float()), ("mean_", mean)):
        sums.add(f"actions/{prefix}mse", (guess - true).square(), mask)
        for source in sorted(set(sources)):
            rows = torch.tensor([one == source for one in sources], device=true.device)
            scaling = action_scaling(statistics, source)
            apart = _physical(scaling, guess[rows]) - _physical(scaling, true[rows])
            _add_arms(sums, f"actions/{source}/{prefix}", apart, mask[rows].cpu())


def _add_arms(sums: _Sums, name: str, apart: Tensor, mask: Tensor) -> None:
    """Add distances [n, H, 14] in physical units, both arms alike."""
    for arm in _ARMS:
        error, real = apart[..., arm], mask[..., arm]
        sums.add(f"{name}position_m", error[..., :3].norm(dim=-1), real[..., :3].all(dim=-1))
        sums.add(f"{name}rotation_rad", error[..., 3:6].norm(dim=-1), real[..., 3:6].all(dim=-1))
        sums.add(f"{name}gripper", error[..., 6].abs(), real[..., 6])


def _physical(scaling: Scaling, values: Tensor) -> Tensor:
    return torch.from_numpy(scaling.unnormalize(values.cpu().numpy()))


def _mean_action(statistics: Mapping[str, Json], source: str) -> Tensor:
    """Give a source's mean action [14] in normalized units."""
    table: Any = statistics[source]
    mean = [0.0 if value is None else value for value in table["source"][source]["action"]["mean"]]
    values: Float32 = np.asarray(mean, np.float32)[ACTION14]
    return torch.from_numpy(action_scaling(statistics, source).normalize(values, np.ones(len(values), bool)))


def write_evaluation(run: Path, step: int, figures: Mapping[str, float]) -> Path:
    """Write a run's figures as RUN/evaluation.json."""
    path = run / EVALUATION
    write_atomically(path, (json.dumps({"step": step, **figures}, indent=1, sort_keys=True) + "\n").encode())
    return path


def is_evaluated(run: Path, step: int) -> bool:
    """Tell whether RUN/evaluation.json is about a step: a run may have been killed while it was measured."""
    path = run / EVALUATION
    return path.is_file() and json.loads(path.read_text())["step"] == step


def summary(figures: Mapping[str, float]) -> list[str]:
    """Say the figures in lines for a terminal."""
    lines = []
    if "frames/loss" in figures:
        lines.append(
            f"frames: loss {figures['frames/loss']:.4f} (copying the present frame {figures['frames/copy_loss']:.4f}), "
            f"L1 {figures['frames/l1']:.4f} ({figures['frames/copy_l1']:.4f}), SSIM {figures['frames/ssim']:.4f} "
            f"({figures['frames/copy_ssim']:.4f})"
        )
    if "actions/mse" in figures:
        lines.append(f"actions: MSE {figures['actions/mse']:.4f} (the mean action {figures['actions/mean_mse']:.4f})")
    for source in sorted({name.split("/")[1] for name in figures if name.count("/") == 2}):
        own = {name.split("/")[2]: value for name, value in figures.items() if name.startswith(f"actions/{source}/")}
        if not {"position_m", "rotation_rad"} <= own.keys():  # masked throughout
            continue
        lines.append(
            f"  {source}: {own['position_m'] * 1000:.2f} mm, {own['rotation_rad']:.4f} rad a step (the mean action "
            f"{own['mean_position_m'] * 1000:.2f} mm, {own['mean_rotation_rad']:.4f} rad)"
        )
    shuffled = [
        f"{name} {figures[key]:.4f} instead of {figures[own]:.4f}"
        for name, key, own in (
            ("frames", "frames/shuffled_loss", "frames/loss"),
            ("actions", "actions/shuffled_mse", "actions/mse"),
        )
        if key in figures
    ]
    if shuffled:
        lines.append(f"with another sample's latents: {', '.join(shuffled)}")
    lines.append(f"codes used: {figures['codes/used']:.0%}")
    return lines
