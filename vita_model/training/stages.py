"""The three stages of Algorithm 1: which parts exist, which parts train, which batches are used, and the losses.

Assumes: Algorithm 1 holds where section 8.2 contradicts it about what is frozen in fine-tuning.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from vita_data.types import Batch, Modality, Stage
from vita_model.distributed import Ranks, all_sum
from vita_model.network.backbone import SUBTASKS
from vita_model.network.codebook import Quantized
from vita_model.network.configs import Component, LatentDecoding, LatentGradient, LossConfig, VitaConfig
from vita_model.network.losses import absolute_error, action_error, feature_error, masked_mean, motion_weight, ssim
from vita_model.network.prediction import ActionPrediction, Draws, FramePrediction, Prediction
from vita_model.network.reasoning import VisualReasoning
from vita_model.network.tokens import token_error
from vita_model.network.vita import Vita
from vita_model.training.subtasks import weak_subtasks

Terms = dict[str, Tensor]
_MAX_SEED = 2**62
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRule:
    """Definition of one stage."""

    modalities: tuple[Modality, ...]
    builds: frozenset[Component]
    trains: frozenset[Component]
    needs: frozenset[Component]
    """Parts that must come from an earlier run, because this stage does not train them."""
    predict: Callable[[Vita, Batch, Draws], Prediction]
    loss: Callable[[Prediction, LossConfig], Terms]
    """Weighted terms; their sum is minimized."""


def set_modes(model: Vita, stage: Stage) -> None:
    """Set gradients and train mode only for parts that the stage trains; the codebook learns in train mode."""
    parts = trained_parts(stage, model.config)
    for name in model.components:
        trains = name in parts
        model.component(name).requires_grad_(trains).train(mode=trains)
    if stage is not Stage.WARMUP:
        model.visual_decoder.freeze_feature_head()
    if model.backbone is not None:
        model.backbone.freeze_vocabulary()
        if stage is Stage.FINETUNE:
            model.backbone.train_adapters()


def trained_parts(stage: Stage, config: VitaConfig) -> frozenset[Component]:
    """List the parts that a stage trains: those of its rule and, in co-training, an unfrozen codebook."""
    trained = RULES[stage].trains
    learns = stage is Stage.COTRAIN and not config.codebook.freeze
    return trained | {Component.CODEBOOK} if learns else trained


def needed_parts(stage: Stage, config: VitaConfig, loss: LossConfig) -> frozenset[Component]:
    """List the parts that a stage must take from an earlier run: needed, but not trained by itself."""
    needs = RULES[stage].needs - trained_parts(stage, config)
    if stage is Stage.COTRAIN and has_teacher(config, loss):
        needs |= {Component.VISUAL_ENCODER}
    if stage is Stage.COTRAIN and has_chunk_teacher(config, loss):
        needs |= {Component.ACTION_ENCODER}
    return needs - {Component.CODEBOOK} if config.cot.visual is VisualReasoning.NONE else needs


def has_teacher(config: VitaConfig, loss: LossConfig) -> bool:
    """Tell whether co-training supervises latent tokens with the codes of the true futures; needs frozen codes."""
    wanted = loss.tokens > 0 or config.latents.decoding is LatentDecoding.AUTOREGRESSIVE
    return wanted and _has_settled_codes(config)


def has_chunk_teacher(config: VitaConfig, loss: LossConfig) -> bool:
    """Tell whether co-training supervises latent tokens with the codes of the true chunks; needs frozen codes."""
    return loss.chunk_tokens > 0 and _has_settled_codes(config)


def _has_settled_codes(config: VitaConfig) -> bool:
    return config.codebook.freeze and config.cot.visual is not VisualReasoning.NONE


def draw(
    model: Vita,
    batch: Batch,
    *,
    num_supervised_frames: int | None,
    num_taught_transitions: int | None = None,
    loss: LossConfig,
    generator: torch.Generator,
    ranks: Ranks,
) -> Draws:
    """Draw the random choices of one training step from a CPU generator, for batches that have images.

    Frames are shifted only if the visual encoder trains.

    Each rank draws for the whole global batch and takes its part, so that choices are the same as with one process.
    Supervised frames are drawn among those that at least one sample has; decoding others would not add to the loss.
    With autoregressive decoding, all tokens are supervised, because each needs the codes before it.
    """
    if batch.future_mask is None or batch.image_mask is None:
        return Draws()
    dropout = model.config.action_decoder.context_dropout
    present = all_sum(batch.future_mask.any(dim=0).float()).nonzero().flatten().cpu()
    if not len(present):
        present = torch.arange(batch.future_mask.shape[1])[:1]
    frames = present[torch.randperm(len(present), generator=generator)[:num_supervised_frames]].sort().values
    size = len(batch.image_mask)
    keep = torch.rand(size * ranks.world_size, generator=generator) >= dropout
    mine = slice(ranks.rank * size, (ranks.rank + 1) * size)
    shift = None
    if model.visual_encoder.training and model.config.visual_encoder.moved_views:
        shift = (2 * torch.rand(size * ranks.world_size, 2, generator=generator) - 1)[mine]
        shift = shift.to(batch.image_mask.device)
    seeds, tokens = None, model.config.latents
    trains_backbone = model.backbone is not None and model.backbone.training
    if trains_backbone and tokens.gradient is LatentGradient.GUMBEL:
        seeds = torch.randint(_MAX_SEED, (size * ranks.world_size,), generator=generator)[mine]
    teach = trains_backbone and has_teacher(model.config, loss)
    taught = None
    if teach and num_taught_transitions is not None and tokens.decoding is LatentDecoding.PARALLEL:
        num_transitions = min(batch.future_mask.shape[1], model.num_transitions)
        taught = torch.randperm(num_transitions, generator=generator)[:num_taught_transitions]
    return Draws(
        frames=frames,
        keep_context=keep[mine],
        view_shift=shift,
        token_seeds=seeds,
        teach=teach,
        taught=None if taught is None else tuple(sorted(taught.tolist())),
        teach_chunks=trains_backbone and has_chunk_teacher(model.config, loss),
    )


def details(prediction: Prediction, *, num_codes: int) -> dict[str, float]:
    """Compute additional figures to log, over the global batch.

    These are the perplexity of the chosen codes and the entropy of subtask usage (nats).
    """
    values: dict[str, float] = {}
    taken_codes = prediction.quantized[-1].indices if prediction.quantized else None
    if taken_codes is not None:
        counts = all_sum(taken_codes.flatten().bincount(minlength=num_codes).float())
        values["token_perplexity"] = float(_entropy(counts).exp())
    if prediction.reasoning is not None and prediction.reasoning.subtasks.indices.numel():
        chosen = prediction.reasoning.subtasks
        taken = chosen.indices[chosen.mask].bincount(minlength=len(SUBTASKS)).float()
        values["subtask_entropy"] = float(_entropy(all_sum(taken)))
    return values


def _entropy(counts: Tensor) -> Tensor:
    shares = counts.float() / counts.sum()
    return 0.0 - (shares * shares.clamp(min=1e-12).log()).sum()


def _predict_warmup(model: Vita, batch: Batch, draws: Draws) -> Prediction:
    chunks = batch.modality is Modality.ACTION
    return model.reconstruct_chunk(batch, draws) if chunks else model.reconstruct_pair(batch, draws)


def _predict_cotrain(model: Vita, batch: Batch, draws: Draws) -> Prediction:
    return model.reason(batch, draws, with_frames=True)


def _predict_finetune(model: Vita, batch: Batch, draws: Draws) -> Prediction:
    return model.reason(batch, draws, with_frames=False)


def _loss_warmup(prediction: Prediction, config: LossConfig) -> Terms:
    """Reconstruction of the batch's modality, with the quantizer's terms (VITA eq 5, 9).

    Paired windows add the error of their actions decoded from the video's code, so that a code means the same motion to
    both decoders.
    """
    frames, actions = prediction.frames, prediction.actions
    terms = _frame_terms(frames, l1=config.l1, similarity=config.ssim, motion=config.motion)
    if frames is not None and frames.features is not None and config.features:
        found = frames.features
        error = feature_error(found.predicted, found.true, found.present, frames.mask.flatten())
        terms["features"] = config.features * error
    if actions is not None and frames is not None:
        terms["cross"] = config.cross * action_error(actions.predicted, actions.true, actions.mask)
    else:
        terms |= _action_terms(actions, config)
    terms |= _code_terms(prediction.quantized, config)
    terms["usage_match"] = config.usage_match * sum_of([one.usage_match for one in prediction.quantized])
    return terms


def _loss_cotrain(prediction: Prediction, config: LossConfig) -> Terms:
    """Frames (all batches) and actions (paired), VITA eq 19 and 20; beyond the paper: tokens, subtasks, commitment."""
    if prediction.actions is None:
        terms = _frame_terms(prediction.frames, l1=config.l1, similarity=config.ssim, motion=config.motion)
    else:
        similarity = config.ssim if config.paired_ssim else 0.0
        terms = _frame_terms(prediction.frames, l1=config.visual, similarity=similarity, motion=config.motion)
    terms |= _action_terms(prediction.actions, config)
    if prediction.tokens is not None and config.tokens:
        terms["tokens"] = config.tokens * token_error(prediction.tokens.logits, prediction.tokens.teacher)
    if prediction.chunk_tokens is not None and config.chunk_tokens:
        found = prediction.chunk_tokens
        terms["chunk_tokens"] = config.chunk_tokens * token_error(found.logits, found.teacher)
    terms |= _subtask_terms(prediction, config)
    return terms | _code_terms(prediction.quantized, config)


def _subtask_terms(prediction: Prediction, config: LossConfig) -> Terms:
    """Terms that make the textual chain of thought informative; none if the model predicts no subtasks."""
    terms: Terms = {}
    chosen = None if prediction.reasoning is None else prediction.reasoning.subtasks
    if chosen is None or not chosen.indices.numel():
        return terms
    if config.subtasks and prediction.actions is not None:
        labels = weak_subtasks(prediction.actions.true, prediction.actions.mask, num_subtasks=chosen.indices.shape[1])
        error = -chosen.probabilities.clamp(min=_TINY).log().gather(-1, labels.indices[..., None])[..., 0]
        terms["subtasks"] = config.subtasks * masked_mean(error, labels.mask)
    if config.subtask_entropy:
        terms["subtask_entropy"] = config.subtask_entropy * _missing_information(chosen.probabilities)
    return terms


def _missing_information(probabilities: Tensor) -> Tensor:
    """Measure how far, in nats, the mutual information of samples and choices [B, M, 8] is below its maximum.

    Even use of subtasks alone is not enough: a uniform distribution for every sample is even, but carries no
    information.
    """
    size = all_sum(probabilities.new_tensor(len(probabilities)))
    mean, own = all_sum(probabilities.sum(dim=0)) / size, all_sum(_entropies(probabilities).sum(dim=0)) / size
    return math.log(len(SUBTASKS)) - (_entropies(mean) - own).mean()


def _entropies(probabilities: Tensor) -> Tensor:
    return -(probabilities * probabilities.clamp(min=_TINY).log()).sum(dim=-1)


def _loss_finetune(prediction: Prediction, config: LossConfig) -> Terms:
    """Only actions (Algorithm 1, line 36)."""
    return _action_terms(prediction.actions, config)


def _code_terms(quantized: Sequence[Quantized], config: LossConfig) -> Terms:
    terms: Terms = {}
    if quantized:
        terms["commitment"] = config.commitment * sum_of([one.commitment for one in quantized])
    learned = [one.codebook for one in quantized if one.codebook is not None]
    if learned:
        terms["codebook"] = config.codebook * sum_of(learned)
    return terms


def sum_of(values: Sequence[Tensor]) -> Tensor:
    """Add scalars."""
    return torch.stack(list(values)).sum()


def _frame_terms(frames: FramePrediction | None, *, l1: float, similarity: float, motion: float) -> Terms:
    if frames is None:
        return {}
    predicted, true = frames.predicted.flatten(0, 1), frames.true.flatten(0, 1)
    mask, weight = frames.mask.flatten(), None
    if motion:
        weight = motion_weight(frames.start[:, None].expand_as(frames.true).flatten(0, 1), true, motion)
    terms = {"l1": l1 * masked_mean(absolute_error(predicted, true, weight), mask)}
    if similarity:
        terms["ssim"] = similarity * masked_mean(1 - ssim(predicted, true), mask)
    return terms


def _action_terms(actions: ActionPrediction | None, config: LossConfig) -> Terms:
    if actions is None:
        return {}
    terms = {"action": config.action * action_error(actions.predicted, actions.true, actions.mask)}
    if actions.from_latents is not None:
        terms["latent_action"] = config.action * action_error(actions.from_latents, actions.true, actions.mask)
    return terms


_ALL = frozenset(Component)
_AUTOENCODERS = _ALL - {Component.BACKBONE}

RULES: Mapping[Stage, StageRule] = MappingProxyType(
    {
        Stage.WARMUP: StageRule(
            modalities=(Modality.VIDEO, Modality.ACTION, Modality.PAIRED),
            builds=_AUTOENCODERS,
            trains=_AUTOENCODERS,
            needs=frozenset(),
            predict=_predict_warmup,
            loss=_loss_warmup,
        ),
        Stage.COTRAIN: StageRule(
            modalities=(Modality.VIDEO, Modality.PAIRED),
            builds=_ALL,
            trains=frozenset({Component.BACKBONE, Component.VISUAL_DECODER, Component.ACTION_DECODER}),
            needs=frozenset({Component.CODEBOOK}),
            predict=_predict_cotrain,
            loss=_loss_cotrain,
        ),
        Stage.FINETUNE: StageRule(
            modalities=(Modality.PAIRED,),
            builds=_ALL,
            trains=frozenset({Component.ACTION_DECODER}),
            needs=frozenset({Component.CODEBOOK, Component.BACKBONE}),
            predict=_predict_finetune,
            loss=_loss_finetune,
        ),
    }
)
