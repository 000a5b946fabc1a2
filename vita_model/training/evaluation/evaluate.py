"""Evaluate a model's predictions against trivial predictors, in physical units for each source.

The trivial predictors are the present frame as the future, and a source's mean action at every step. A model that does
not beat them has learned nothing useful, whatever its loss.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vita_data.loader.normalize import Scaling, action_scaling
from vita_data.slots import ARMS, GRIPPER, NUM_ACTION_DIMS, TURN, XYZ, batch_columns
from vita_data.storage.files import write_atomically
from vita_data.types import Batch, Float32, Json, Stage
from vita_model.distributed import all_sum
from vita_model.network.configs import LossConfig
from vita_model.network.losses import absolute_error, ssim
from vita_model.network.prediction import ActionPrediction, Draws, FramePrediction
from vita_model.network.vita import Vita
from vita_model.training.evaluation import latents
from vita_model.training.evaluation.latents import LatentReport, verdict
from vita_model.training.evaluation.means import MaskedMeans
from vita_model.training.log import rows_up_to
from vita_model.training.stages import RULES, set_modes

EVALUATION, HISTORY = "evaluation.json", "evaluation.jsonl"

KEYS: Mapping[str, str] = {
    "frames/loss": "weighted L1 and SSIM of the predicted frames",
    "frames/l1": "L1 of the predicted frames",
    "frames/ssim": "structural similarity of the predicted frames",
    "frames/psnr_db": "peak signal-to-noise ratio of the predicted frames",
    "frames/copy_loss": "weighted L1 and SSIM of the copied present frame",
    "frames/copy_l1": "L1 of the copied present frame",
    "frames/copy_ssim": "structural similarity of the copied present frame",
    "frames/copy_psnr_db": "peak signal-to-noise ratio of the copied present frame",
    "actions/mse": "squared error of the predicted actions in normalized units",
    "actions/mean_mse": "squared error of each source's mean action in normalized units",
    "codes/used": "fraction of the codebook that the batches used",
}
"""Descriptions of the figures of all sources together; `latents.KEYS` has those of the latent report."""

SOURCE_KEYS: Mapping[str, str] = {
    **{
        name.replace("/", "/SOURCE/"): f"{words}, of this source alone"
        for name, words in {**KEYS, **latents.KEYS}.items()
        if name.startswith(("frames/", "actions/", "cross/")) and name != "cross/action_mean_mse"
    },
    "frames/SOURCE/windows": "number of windows that these means of frames are of",
    "actions/SOURCE/windows": "number of windows that these means of actions are of",
    "actions/SOURCE/position_m": "mean distance of the hand's motion per step",
    "actions/SOURCE/rotation_rad": "mean difference of the hand's small Euler angles per step",
    "actions/SOURCE/gripper": "mean difference of the gripper per step",
    "actions/SOURCE/joint_rad": "mean difference of the joint targets' angles",
    "actions/SOURCE/mean_position_m": "mean distance of the hand's motion per step, with the source's mean action",
    "actions/SOURCE/mean_rotation_rad": "mean difference of the hand's Euler angles, with the source's mean action",
    "actions/SOURCE/mean_gripper": "mean difference of the gripper per step, with the source's mean action",
    "actions/SOURCE/mean_joint_rad": "mean difference of the joint targets' angles, with the source's mean action",
}
"""Descriptions of the figures of one source, whose name stands for SOURCE; masked members have no figures."""


@torch.no_grad()
def evaluate(
    model: Vita, stage: Stage, batches: Iterable[Batch], statistics: Mapping[str, Json], config: LossConfig
) -> dict[str, float]:
    """Evaluate a model on batches, without changing it. Every rank must call this with the same number of batches.

    Returns:
        The figures that `KEYS`, `SOURCE_KEYS` and `latents.KEYS` describe, without those that the stage and the
        batches do not have.
    """
    device = model.codebook.codes.device
    sums, used = MaskedMeans(device), torch.zeros(model.config.codebook.num_codes, device=device)
    report = LatentReport(model, stage, config)
    model.eval()
    try:
        for batch in batches:
            prediction = RULES[stage].predict(model, batch, Draws())
            for indices in [one.indices for one in prediction.quantized if one.indices is not None]:
                used[indices.flatten()] = 1.0
            if prediction.frames is not None:
                _add_frames(sums, prediction.frames, batch.source, config)
            crosses = stage is Stage.WARMUP and prediction.frames is not None
            if prediction.actions is not None and not crosses:
                _add_actions(sums, prediction.actions, batch.source, statistics)
            report.add(batch, prediction)
    finally:
        set_modes(model, stage)
    figures = {**sums.means(), **sums.windows(), **report.figures()}
    return figures if model.codebook.is_continuous else {**figures, "codes/used": _share_of(used)}


def _share_of(used: Tensor) -> float:
    return float((all_sum(used) > 0).float().mean())


def _add_frames(sums: MaskedMeans, frames: FramePrediction, sources: list[str], config: LossConfig) -> None:
    true, size = frames.true.flatten(0, 1), frames.mask.shape
    sums.count_windows("frames", frames.mask, sources)
    copied = frames.start[:, None].expand_as(frames.true).flatten(0, 1)
    for prefix, images in (("", frames.predicted.flatten(0, 1).float().clamp(0, 1)), ("copy_", copied)):
        distance, alike = absolute_error(images, true), ssim(images, true)
        squared = (images - true).square().mean(dim=(1, 2, 3)).clamp(min=1e-10)
        errors = {
            "l1": distance,
            "ssim": alike,
            "psnr_db": -10 * squared.log10(),
            "loss": config.l1 * distance + config.ssim * (1 - alike),
        }
        for name, values in errors.items():
            sums.add_by_source("frames", f"{prefix}{name}", values.view(size), frames.mask, sources)


def _add_actions(
    sums: MaskedMeans, actions: ActionPrediction, sources: list[str], statistics: Mapping[str, Json]
) -> None:
    mask, true = actions.mask, actions.real
    sums.count_windows("actions", mask, sources)
    joints = true.shape[-1] > NUM_ACTION_DIMS
    means = [_mean_action(statistics, source, joints=joints) for source in sources]
    mean = torch.stack(means).to(true.device)[:, None].expand_as(true)
    for prefix, guess in (("", actions.predicted.float()), ("mean_", mean)):
        sums.add_by_source("actions", f"{prefix}mse", (guess - true).square(), mask, sources)
        for source in sorted(set(sources)):
            rows = torch.tensor([one == source for one in sources], device=true.device)
            scaling = action_scaling(statistics, source, joints=joints)
            apart = _physical(scaling, guess[rows]) - _physical(scaling, true[rows])
            _add_arms(sums, f"actions/{source}/{prefix}", apart, mask[rows].cpu())


def _add_arms(sums: MaskedMeans, name: str, apart: Tensor, mask: Tensor) -> None:
    """Add distances [n, H, A] in physical units, for both arms together."""
    for arm in ARMS:
        error, real = apart[..., arm], mask[..., arm]
        sums.add(f"{name}position_m", error[..., XYZ].norm(dim=-1), real[..., XYZ].all(dim=-1))
        sums.add(f"{name}rotation_rad", error[..., TURN].norm(dim=-1), real[..., TURN].all(dim=-1))
        sums.add(f"{name}gripper", error[..., GRIPPER].abs(), real[..., GRIPPER])
    sums.add(f"{name}joint_rad", apart[..., NUM_ACTION_DIMS:].abs(), mask[..., NUM_ACTION_DIMS:])


def _physical(scaling: Scaling, values: Tensor) -> Tensor:
    return torch.from_numpy(scaling.unnormalize(values.cpu().numpy()))


def _mean_action(statistics: Mapping[str, Json], source: str, *, joints: bool) -> Tensor:
    """Give a source's mean action [A] in normalized units."""
    table: Any = statistics[source]
    mean = [0.0 if value is None else value for value in table["source"][source]["action"]["mean"]]
    values: Float32 = np.asarray(mean, np.float32)[np.array(batch_columns(joints=joints))]
    scaling = action_scaling(statistics, source, joints=joints)
    return torch.from_numpy(scaling.normalize(values, np.ones(len(values), bool)))


def write_evaluation(run: Path, step: int, figures: Mapping[str, float]) -> Path:
    """Write a run's figures and their `verdict` to RUN/evaluation.json, and append the figures to evaluation.jsonl.

    Rows of this step and later, left by a run that crashed, are removed from evaluation.jsonl.
    """
    path, history = run / EVALUATION, run / HISTORY
    row = {"step": step, **figures}
    kept = rows_up_to(history, step - 1) if history.is_file() else []
    write_atomically(history, ("".join(kept) + json.dumps(row, sort_keys=True) + "\n").encode())
    said = {**row, "verdict": verdict(figures, step=step)}
    write_atomically(path, (json.dumps(said, indent=1, sort_keys=True) + "\n").encode())
    return path


def is_evaluated(run: Path, step: int) -> bool:
    """Tell whether RUN/evaluation.json is of this step; a run may have been killed during its evaluation."""
    path = run / EVALUATION
    return path.is_file() and json.loads(path.read_text())["step"] == step


def sources_of(figures: Mapping[str, float]) -> list[str]:
    """List the sources that have figures of their own."""
    return sorted({name.split("/")[1] for name in figures if name.count("/") == 2})


def summary(figures: Mapping[str, float], *, step: int | None = None) -> list[str]:
    """Format the figures after a step as lines for a terminal."""
    lines = []
    if "frames/loss" in figures:
        lines.append(
            f"frames: loss {figures['frames/loss']:.4f} (copying the present frame {figures['frames/copy_loss']:.4f}), "
            f"L1 {figures['frames/l1']:.4f} ({figures['frames/copy_l1']:.4f}), SSIM {figures['frames/ssim']:.4f} "
            f"({figures['frames/copy_ssim']:.4f})"
        )
    if "actions/mse" in figures:
        lines.append(f"actions: MSE {figures['actions/mse']:.4f} (mean action {figures['actions/mean_mse']:.4f})")
    for source in sources_of(figures):
        lines += _source_lines(figures, source)
    if "codes/used" in figures:
        lines.append(f"codes used: {figures['codes/used']:.0%} (even use alone does not show that codes are useful)")
    else:
        lines.append("codes: none yet, the codebook is in its continuous phase (codebook.continuous_updates)")
    return lines + verdict(figures, step=step)


def _source_lines(figures: Mapping[str, float], source: str) -> list[str]:
    """Format one source's figures; members that were masked throughout have no line."""
    frames, own = (_own(figures, kind, source) for kind in ("frames", "actions"))
    lines = []
    if "loss" in frames and len(sources_of(figures)) > 1:  # a single source's frames have their line already
        lines.append(
            f"  {source}: frames' loss {frames['loss']:.4f} (copying the present frame {frames['copy_loss']:.4f})"
        )
    if "joint_rad" in own:
        lines.append(f"  {source}: {own['joint_rad']:.4f} rad per joint (mean action {own['mean_joint_rad']:.4f} rad)")
    if {"position_m", "rotation_rad"} <= own.keys():
        lines.append(
            f"  {source}: {own['position_m'] * 1000:.2f} mm, {own['rotation_rad']:.4f} rad per step (mean action "
            f"{own['mean_position_m'] * 1000:.2f} mm, {own['mean_rotation_rad']:.4f} rad)"
        )
    return lines


def _own(figures: Mapping[str, float], kind: str, source: str) -> dict[str, float]:
    """Give a source's figures of frames or of actions by their last word."""
    prefix = f"{kind}/{source}/"
    return {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}
