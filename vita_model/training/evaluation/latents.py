"""The latent report: do latents carry what the decoders need, and do codes mean the same for video and actions?

Figures that look good can be misleading: codes can be evenly used, and frames better than copies, although another
sample's code works just as well. Therefore each error is compared with the errors for another sample's latents, for the
mean of the latents, and of a trivial predictor. `KEYS` describes each figure.
Letters: B batch, Q latents of a sample, D width, K codes, n vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vita_data.slots import RIGHT_ARM, XYZ, within
from vita_data.types import Batch, Modality, Stage
from vita_model.distributed import all_names, all_rows, all_sum
from vita_model.network.codebook import Quantized
from vita_model.network.configs import LossConfig
from vita_model.network.losses import absolute_error, ssim
from vita_model.network.prediction import Draws, Prediction, ShownLatents
from vita_model.network.vita import Vita
from vita_model.training.evaluation.means import MaskedMeans
from vita_model.training.stages import RULES, has_teacher

KEYS: Mapping[str, str] = {
    "frames/shuffled_loss": "weighted L1 and SSIM of the frames decoded from another sample's latents",
    "frames/mean_latent_loss": "weighted L1 and SSIM of the frames decoded from the mean of the latents",
    "frames/shuffled_subtasks_loss": "weighted L1 and SSIM of the frames where another sample's subtasks were chosen",
    "frames/shuffled_l1": "L1 of the frames decoded from another sample's latents",
    "frames/mean_latent_l1": "L1 of the frames decoded from the mean of the latents",
    "frames/shuffled_subtasks_l1": "L1 of the frames where another sample's subtasks were chosen",
    "actions/shuffled_mse": "squared error of the actions decoded from another sample's latents",
    "actions/mean_latent_mse": "squared error of the actions decoded from the mean of the latents",
    "actions/shuffled_subtasks_mse": "squared error of the actions where another sample's subtasks were chosen",
    "cross/action_mse": "paired windows: squared error of the actions decoded from the video's code",
    "cross/action_mean_mse": "paired windows: squared error of the mean action of these windows",
    "cross/frames_l1": "paired windows: L1 of the frames decoded from the actions' code",
    "cross/frames_own_l1": "paired windows: L1 of the frames decoded from the video's own code",
    "cross/frames_copy_l1": "paired windows: L1 of the copied present frame",
    "codes/agreement": "share of paired windows whose video and whose actions take the same code",
    "codes/agreement_chance": "the same share if both codes were drawn independently with their own frequencies",
    "codes/rank_video": "effective rank of the videos' encodings: exponential of the entropy of their variances",
    "codes/rank_action": "effective rank of the actions' encodings",
    "codes/rank_predicted": "effective rank of the latents that the backbone predicts",
    "codes/used_video": "number of codes that the videos took",
    "codes/used_action": "number of codes that the actions took",
    "codes/used_predicted": "number of codes that the predicted latents took",
    "codes/token_accuracy": "co-training: share of latent tokens that take the code of the true future",
    "codes/token_accuracy_commonest": "the same share if all tokens took the most common of these codes",
    "codes/least_norm": "norm of the smallest code; a code near zero attracts every small latent",
    "codes/motion_r2": "share of the displacements' variance on held-out windows that the mean per code explains",
    "subtasks/distinct": "number of distinct subtask sequences that were chosen",
}
"""Descriptions of the report's figures; a stage reports only those that apply to it."""

_HAND_MOTION = within(RIGHT_ARM.start, XYZ)
"""Columns of a batch's action with the motion of the right hand."""
_LEAST_WINDOWS = 256
"""Minimum number of paired windows for `codes/motion_r2`."""


@dataclass(slots=True)
class LatentReport:
    """Collects figures over batches; every rank must add the same number of batches with the same modalities."""

    model: Vita
    stage: Stage
    config: LossConfig
    _means: MaskedMeans = field(init=False)
    _vectors: dict[str, list[Tensor]] = field(default_factory=dict)
    _indices: dict[str, list[Tensor]] = field(default_factory=dict)
    _pairs: list[Tensor] = field(default_factory=list)
    """Codes of video and actions of paired windows, int64 [n, 2]."""
    _motion: list[Tensor] = field(default_factory=list)
    """Displacements of the hand [n, 3] over the chunks of these windows, in normalized units."""
    _chains: list[Tensor] = field(default_factory=list)
    _tokens: list[Tensor] = field(default_factory=list)
    """Predicted codes and codes of the true futures, int64 [n, 2]."""

    def __post_init__(self) -> None:
        """Create the sums on the model's device."""
        self._means = MaskedMeans(self.model.codebook.codes.device)

    def add(self, batch: Batch, prediction: Prediction) -> None:
        """Add a batch and the model's prediction for it in eval mode."""
        kind = self._kind(batch)
        for quantized in prediction.quantized:
            self._vectors.setdefault(kind, []).append(quantized.vectors.flatten(0, 1).float())
            if quantized.indices is not None:
                self._indices.setdefault(kind, []).append(quantized.indices.flatten())
        for shown, name in ((ShownLatents.SHUFFLED, "shuffled"), (ShownLatents.MEAN, "mean_latent")):
            self._add_errors(redecoded(self.model, self.stage, batch, prediction, shown), name, batch.source)
        if prediction.reasoning is not None and prediction.reasoning.subtasks.indices.numel():
            self._add_subtasks(batch, prediction)
        if self.stage is Stage.WARMUP and batch.modality is Modality.PAIRED:
            self._add_pairs(batch, prediction)
        if self.stage is Stage.COTRAIN and has_teacher(self.model.config, self.config):
            self._add_tokens(batch, prediction)

    def figures(self) -> dict[str, float]:
        """Give the figures, with the names of `KEYS`."""
        found = self._means.means()
        for kind in all_names(self._vectors):
            found[f"codes/rank_{kind}"] = effective_rank(_joined(self._vectors[kind]))
        for kind in all_names(self._indices):
            found[f"codes/used_{kind}"] = float(_num_distinct(_joined(self._indices[kind])[:, None]))
        if not self.model.codebook.is_continuous:
            found["codes/least_norm"] = float(self.model.codebook.codes.norm(dim=1).min())
        if self._chains:
            found["subtasks/distinct"] = float(_num_distinct(_joined(self._chains)))
        if self._tokens:
            taken, true = _joined(self._tokens).unbind(dim=1)
            if len(true):
                found["codes/token_accuracy"] = float((taken == true).double().mean())
                found["codes/token_accuracy_commonest"] = float(true.bincount().max() / len(true))
        return found | self._pair_figures()

    def _kind(self, batch: Batch) -> str:
        if self.stage is not Stage.WARMUP:
            return "predicted"
        return "action" if batch.modality is Modality.ACTION else "video"

    def _add_errors(self, prediction: Prediction, name: str, sources: list[str]) -> None:
        frames, actions = prediction.frames, prediction.actions
        if frames is not None:
            images = frames.predicted.flatten(0, 1).float().clamp(0, 1)
            true, mask = frames.true.flatten(0, 1), frames.mask
            distance = absolute_error(images, true)
            loss = self.config.l1 * distance + self.config.ssim * (1 - ssim(images, true))
            for word, values in (("l1", distance), ("loss", loss)):
                self._means.add_by_source("frames", f"{name}_{word}", values.view(mask.shape), mask, sources)
        if actions is not None and (frames is None or self.stage is not Stage.WARMUP):
            error = (actions.predicted.float() - actions.real).square()
            self._means.add_by_source("actions", f"{name}_mse", error, actions.mask, sources)

    def _add_subtasks(self, batch: Batch, prediction: Prediction) -> None:
        """Repeat with the previous sample's subtasks; if errors do not grow, the latents ignore the subtasks."""
        reasoning, backbone = prediction.reasoning, self.model.backbone
        if reasoning is None or backbone is None:
            return
        self._chains.append(reasoning.subtasks.indices)
        other = backbone.with_subtasks(reasoning, reasoning.subtasks.rolled())
        again = self.model.decode(batch, other, Draws(), with_frames=prediction.frames is not None)
        self._add_errors(again, "shuffled_subtasks", batch.source)

    def _add_tokens(self, batch: Batch, prediction: Prediction) -> None:
        """Compare the predicted codes with the codes of the true future."""
        teacher, taken = self.model.teacher(batch), prediction.quantized[0].indices
        if taken is not None:
            self._tokens.append(torch.stack([taken[teacher.mask], teacher.indices[teacher.mask]], dim=1))

    def _add_pairs(self, batch: Batch, prediction: Prediction) -> None:
        """Compare video and actions of the same windows by decoding each from the other's code."""
        frames, actions, (quantized,) = prediction.frames, prediction.actions, prediction.quantized
        if frames is None or actions is None:
            return
        true, sources = actions.real, batch.source
        error = (actions.predicted.float() - true).square()
        self._means.add_by_source("cross", "action_mse", error, actions.mask, sources)
        mean = all_sum((true * actions.mask).sum(dim=(0, 1))) / all_sum(actions.mask.sum(dim=(0, 1))).clamp(min=1)
        self._means.add("cross/action_mean_mse", (mean - true).square(), actions.mask)
        done = self.model.encode_chunk(actions.true, actions.mask)
        target, real = frames.true.flatten(0, 1), frames.mask.flatten()
        for name, images in (
            ("frames", self.model.paint(batch, done.latents).flatten(0, 1)),
            ("frames_own", frames.predicted.flatten(0, 1)),
            ("frames_copy", frames.start),
        ):
            distance = absolute_error(images.float().clamp(0, 1), target)
            self._means.add_by_source("cross", f"{name}_l1", distance, real, sources)
        both = real & actions.mask.flatten(1).any(dim=1)
        pairs = paired_codes(quantized, done)
        if pairs is not None:
            self._pairs.append(pairs[both])
            known = actions.mask[..., _HAND_MOTION].flatten(1).any(dim=1)[:, None]
            self._motion.append(torch.where(known, true[..., _HAND_MOTION].sum(dim=1), torch.nan)[both])

    def _pair_figures(self) -> dict[str, float]:
        if not all_names(["pairs"] if self._pairs else []):
            return {}
        codes = _joined(self._pairs)
        video, action = codes.unbind(dim=-1)
        num_codes = self.model.config.codebook.num_codes
        shares = [c.flatten().bincount(minlength=num_codes).double() / max(c.numel(), 1) for c in (video, action)]
        found = {
            "codes/agreement": float((video == action).double().mean()),
            "codes/agreement_chance": float((shares[0] * shares[1]).sum()),
        }
        motion = _joined(self._motion)
        moved = motion.isfinite().all(dim=1)
        if int(moved.sum()) >= _LEAST_WINDOWS:
            found["codes/motion_r2"] = explained(video[moved, 0], motion[moved], num_codes)
        return found


def redecoded(model: Vita, stage: Stage, batch: Batch, prediction: Prediction, shown: ShownLatents) -> Prediction:
    """Decode a batch's prediction again, from other latents."""
    draws = Draws(latents=shown)
    if prediction.reasoning is None:
        return RULES[stage].predict(model, batch, draws)
    with_frames = prediction.frames is not None
    return model.decode(batch, prediction.reasoning, draws, with_frames=with_frames)


def paired_codes(video: Quantized, actions: Quantized) -> Tensor | None:
    """Pair the codes of video and actions of the same windows [B, Q, 2]; None before codes exist."""
    if video.indices is None or actions.indices is None:
        return None
    shared = min(video.indices.shape[1], actions.indices.shape[1])
    return torch.stack([video.indices[:, :shared], actions.indices[:, :shared]], dim=-1)


def headline(figures: Mapping[str, float]) -> str:
    """Summarize in one line whether the decoders need the latents, and the latents' effective rank."""
    parts = []
    for name, error in _DECODED:
        own, other = figures.get(f"{name}/{error}"), figures.get(f"{name}/shuffled_{error}")
        if own is not None and other is not None:
            ratio = own / max(other, 1e-12)
            parts.append(f"{name} own/shuffled {error.upper()} {own:.4f}/{other:.4f} = {ratio:.2f}")
    ranks = {name.removeprefix("codes/rank_"): value for name, value in figures.items() if "/rank_" in name}
    if ranks:
        parts.append("rank " + ", ".join(f"{kind} {value:.1f}" for kind, value in sorted(ranks.items())))
    return "; ".join(parts)


def verdict(figures: Mapping[str, float], *, step: int | None = None) -> list[str]:
    """Explain the figures in sentences: facts, then in one block what starts with "warning", and what to do about it.

    What is usual after few steps is no warning before step 1,000; without `step`, the run counts as a long one.
    """
    is_short = step is not None and step < _FEW_STEPS
    mark = f"usual after {step} steps" if is_short else "warning"
    ratios = {name: _shuffled_ratio(figures, name, error) for name, error in _DECODED}
    lines = [
        f"with another sample's latents the error of the {name} is {times:.2f} times as large"
        for name, times in ratios.items()
        if times is not None and times > _IDLE
    ]
    if "codes/agreement" in figures:
        shared, chance = figures["codes/agreement"], figures["codes/agreement_chance"]
        lines.append(f"paired windows whose video and actions share a code: {shared:.0%} (by chance {chance:.1%})")
    if "codes/token_accuracy" in figures:
        right, common = figures["codes/token_accuracy"], figures["codes/token_accuracy_commonest"]
        lines.append(
            f"latent tokens that take the code of the true future: {right:.0%} (always the most common: {common:.0%})"
        )
    if "cross/action_mse" in figures:
        lines.append(
            f"actions decoded from the video's code: MSE {figures['cross/action_mse']:.4f} (mean action "
            f"{figures['cross/action_mean_mse']:.4f})"
        )
    doubts = [
        f"the {name} do not depend on their latents, so the codes carry no information for them (with another "
        f"sample's latents the error is {times:.2f} times as large)"
        for name, times in ratios.items()
        if times is not None and times <= _IDLE
    ]
    if "codes/rank_video" in figures and figures["codes/rank_video"] < _LEAST_RANK:
        doubts.append(f"the videos' encodings are nearly the same (effective rank {figures['codes/rank_video']:.1f})")
    lines += [f"{mark}: {doubt}" for doubt in doubts]
    if doubts:
        look = (
            "see the run's picture of its latents (previews/*-latents.jpg) and `What the latents carry` in "
            "vita_model/README.md"
        )
        lines.append(f"a run so short shows that everything works; to learn more, {look}" if is_short else
                     f"to investigate, {look}")  # fmt: skip
    return lines


_DECODED = (("frames", "l1"), ("actions", "mse"))
_IDLE = 1.05
"""Latents count as unused up to this ratio of the errors with another sample's and with own latents."""
_LEAST_RANK = 1.5
_FEW_STEPS = 1000
"""Codes need more steps than these to carry much."""


def _shuffled_ratio(figures: Mapping[str, float], name: str, error: str) -> float | None:
    """Tell how many times as large a decoder's error is with another sample's latents; None if it was not measured."""
    own, other = figures.get(f"{name}/{error}"), figures.get(f"{name}/shuffled_{error}")
    return None if own is None or other is None else other / max(own, 1e-12)


def _joined(parts: list[Tensor]) -> Tensor:
    return all_rows(torch.cat(parts))


def _num_distinct(rows: Tensor) -> int:
    return len({tuple(row) for row in rows.tolist()})


def effective_rank(vectors: Tensor) -> float:
    """Compute the effective rank of [n, D]: the exponential of the entropy of the principal variances' shares."""
    centred = vectors.double() - vectors.double().mean(dim=0)
    variances = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    shares = variances / variances.sum().clamp(min=1e-300)
    return float(torch.exp(-(shares * shares.clamp(min=1e-300).log()).sum()))


def explained(codes: Tensor, values: Tensor, num_codes: int) -> float:
    """Measure the share of the variance of values [n, V] that the mean per code [n] explains.

    The means are computed on the first half of the samples, with one extra sample at the overall mean to regularize
    them, and evaluated on the second half.
    """
    half, values = len(codes) // 2, values.double()
    known, asked = codes[:half], codes[half:]
    mean = values[:half].mean(dim=0)
    counts = known.bincount(minlength=num_codes).double()[:, None]
    sums = torch.zeros(num_codes, values.shape[1], dtype=torch.float64, device=values.device)
    means = (sums.index_add(0, known, values[:half]) + mean) / (counts + 1)
    error, spread = (values[half:] - means[asked]).square().sum(), (values[half:] - mean).square().sum()
    return float(1 - error / spread.clamp(min=1e-300))
