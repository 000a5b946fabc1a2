"""Configs of all model parts and loss weights. Recipes set them, checkpoints store them.

This module does not import torch, so that an error in a recipe or in `--set` is reported immediately. The module that
builds a part documents what its numbers mean.
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum

from vita_data.config.checks import (
    MAX_SEED,
    require,
    require_not_negative,
    require_part,
    require_positive,
    require_whole,
)
from vita_data.slots import batch_columns
from vita_model.network.reasoning import ReasoningConfig

RANDOM = "random"
"""Name that selects random weights instead of released ones."""
TIMM = "timm:"
"""Prefix for the name of a timm model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Shape of a stack of pre-LN blocks."""

    width: int
    num_layers: int
    num_heads: int
    ffn_width: int

    def __post_init__(self) -> None:
        """Refuse sizes below 1; raises RequestError."""
        require_whole(self, "width", "num_layers", "num_heads", "ffn_width")


VIT_BASE = TransformerConfig(width=768, num_layers=12, num_heads=12, ffn_width=3072)
_M_FORMER = TransformerConfig(width=512, num_layers=6, num_heads=8, ffn_width=1984)
_DECODER_BLOCKS = TransformerConfig(width=1024, num_layers=12, num_heads=16, ffn_width=4992)
_SIGLIP = TransformerConfig(width=1152, num_layers=27, num_heads=16, ffn_width=4304)
_GEMMA = TransformerConfig(width=2048, num_layers=18, num_heads=8, ffn_width=16384)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """DINOv2-Base at 224 px: a grid of 16x16 patches (VITA 3.1.1).

    Assumes: stored 256x256 images are resized to 224, since 256 is not a multiple of the patch size 14. The position
        table is resized by plain bicubic interpolation, as in transformers. This also holds for timm's weights,
        although timm itself antialiases when it shrinks the table.
    """

    backbone: str = "facebook/dinov2-base"
    """Source of the weights: a folder or hub name in the Hugging Face format, `timm:NAME`, or `random`."""
    input_size: int = 224
    patch_size: int = 14
    position_size: int = 518
    """Image size that the position table was made for; the released weights use 518."""
    encoder: TransformerConfig = VIT_BASE
    random_seed: int = 0
    """Seed of the `random` weights, so that every stage sees the same features without storing them."""

    def __post_init__(self) -> None:
        """Refuse an empty backbone name, sizes below 1 and seeds outside torch's range; raises RequestError."""
        backbone: object = self.backbone  # a recipe's value need not have the annotated type
        named = isinstance(backbone, str) and backbone.strip() not in ("", TIMM)
        require(self, "backbone", fits=named, wanted=f"a folder, a hub name, {TIMM}NAME or {RANDOM}")
        require_whole(self, "input_size", "patch_size", "position_size")
        require_whole(self, "random_seed", least=0, most=MAX_SEED)

    @property
    def grid(self) -> int:
        """Number of patches along one side."""
        return self.input_size // self.patch_size


class PositionStart(StrEnum):
    """Initial values of the learned positions of image patches."""

    SINCOS = "sincos"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualEncoderConfig:
    """The M-Former of 20M parameters (VITA 3.1.1, table 11).

    Assumes: "memory-augmented" means learned register tokens; the features of both frames are concatenated along
        channels (eq 2); one latent per pair.
    """

    blocks: TransformerConfig = _M_FORMER
    num_latents: int = 1
    """Latents per frame pair."""
    num_memory: int = 7
    positions: PositionStart = PositionStart.SINCOS
    moved_views: float = 0.0
    """Largest random shift of both frames of a pair in training, as a fraction of the image side. Only the encoder sees
    the shifted frames, so codes learn to describe motion instead of absolute positions. For mixtures without paired
    windows, where no other loss asks for motion (`presets.without_pairs`). The paper uses 0."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes; raises RequestError."""
        require_whole(self, "num_latents")
        require_whole(self, "num_memory", least=0)
        require_part(self, "moved_views")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualDecoderConfig:
    """The 12-layer ViT decoder of 96M parameters (VITA 4.1.2, table 11)."""

    blocks: TransformerConfig = VIT_BASE
    latent_ffn_width: int = 2048
    output_size: int = 256
    """Pixels along a side of a predicted frame; targets are resized to it."""
    max_latents: int = 64
    max_frames: int = 64
    positions: PositionStart = PositionStart.SINCOS
    predicts_features: bool = True
    """Also predict the features of the future frame, as a change of the present ones (VITA 8.1: "a forward model in
    DINOv2's feature space"; weighted by `loss.features`). With L1 alone, the best guess for a pixel is its present
    value unless a change is more likely than not."""
    sees_pixels: bool = False
    """Read the present frame's pixels in addition to its features; for mixtures without paired windows."""
    residual: bool = False
    """Predict a change that is added to the present frame; for mixtures without paired windows."""

    def __post_init__(self) -> None:
        """Refuse sizes below 1; raises RequestError."""
        require_whole(self, "latent_ffn_width", "output_size", "max_latents", "max_frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEncoderConfig:
    """The MLP encoder of 10M parameters (VITA eq 6, table 11); it takes chunks of a fixed length.

    Assumes: a chunk is 12 native steps (table 11 "sampling steps 12").
    """

    horizon: int = 12
    width: int = 2624

    def __post_init__(self) -> None:
        """Refuse sizes below 1; raises RequestError."""
        require_whole(self, "horizon", "width")


class ActionContext(StrEnum):
    """What the action decoder reads in addition to the latents."""

    NONE = "none"
    """Nothing: all information for the actions must pass through the latents (VITA eq 16)."""
    STATES = "states"
    """The backbone's hidden states of images, text and robot state (VITA 8.1: "contextual inputs")."""
    CORRECTION = "correction"
    """The states too, but only as a sum: what the latents alone give, under a loss of its own, and a correction from
    the states alone, which learns the rest. So the states cannot take the latents' place, however long it trains."""


class SegmentLatents(StrEnum):
    """Which latents a segment of a chunk is decoded from."""

    ALL = "all"
    OWN = "own"
    """Only the latents of its own transition: segment i holds the actions of second i (VITA 10.8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDecoderConfig:
    """The transformer decoder of 228M parameters (VITA 4.1.2, 8.1)."""

    blocks: TransformerConfig = _DECODER_BLOCKS
    max_steps: int = 64
    max_latents: int = 64
    num_segments: int = 1
    """Number of segments per chunk, each with its own inverse DCT (VITA 10.8: 15 segments of 12 steps)."""
    segment_latents: SegmentLatents = SegmentLatents.ALL
    """Use `own` together with a `windows.chunk_s` as long as all futures: each second then has one frame and one
    segment of actions."""
    context: ActionContext = ActionContext.NONE
    context_dropout: float = 0.1
    """Fraction of training samples whose states are hidden, so that the decoder keeps using the latents; not with
    `correction`."""

    def __post_init__(self) -> None:
        """Refuse sizes below 1 and a dropout outside [0, 1); raises RequestError."""
        require_whole(self, "max_steps", "max_latents", "num_segments")
        require_part(self, "context_dropout")


class ModalityNorm(StrEnum):
    """Normalization of each modality's encodings before the search for the nearest code."""

    NONE = "none"
    BATCH = "batch"


class CodeUpdate(StrEnum):
    """How codes learn: as moving averages of their encodings, or by gradient as in Algorithm 1."""

    EMA = "ema"
    GRAD = "grad"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodebookConfig:
    """8192 codes of width 1024 (VITA table 11)."""

    num_codes: int = 8192
    width: int = 1024
    update: CodeUpdate = CodeUpdate.EMA
    decay: float = 0.99
    modality_norm: ModalityNorm = ModalityNorm.BATCH
    match_temperature: float = 0.1
    """Temperature of the soft code usage, in units of the mean squared difference per dimension."""
    dead_below: float = 0.01
    """EMA count below which a code is dead; 1024 vectors over 8192 codes average 0.125."""
    grace_updates: int = 200
    """Number of updates before a new code can count as dead."""
    num_recent: int = 4096
    """Number of recent encodings kept as replacements for dead codes."""
    continuous_updates: int | None = None
    """Number of updates in which encodings stay unquantized, before codes are initialized. None: a third of warmup.
    0: use codes from the first batch, as in the paper."""
    last_replacement: int | None = None
    """Last update in which dead codes are replaced. None: 80% of the run."""
    shared: bool = True
    """Use one table for both modalities; false: one table each (VITA figure 20, "w/o modality alignment")."""
    freeze: bool = True
    """Freeze the codes after warmup; false: in co-training they learn from predicted latents (table 7)."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "num_codes", "width", "num_recent")
        require_whole(self, "grace_updates", least=0)
        given = [name for name in ("continuous_updates", "last_replacement") if getattr(self, name) is not None]
        require_whole(self, *given, least=0)
        require_part(self, "decay")
        require_positive(self, "match_temperature")
        require_not_negative(self, "dead_below")


class LatentAttention(StrEnum):
    """Whether a latent can attend to later latents."""

    CAUSAL = "causal"
    BIDIRECTIONAL = "bidirectional"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """PaliGemma-3B at 224 px (VITA 4.1.2) with added query tokens.

    Assumes: all latents come from one pass with causal attention among them (the paper's latency rules out one pass per
        token); 8 subtask queries; at most 48 text tokens; the embedding table stays frozen, since no loss uses it.
    """

    weights: str = "google/paligemma-3b-pt-224"
    """Source of SigLIP, projector, Gemma and tokenizer: a folder, a hub name, or `random` (text as bytes)."""
    vision: TransformerConfig = _SIGLIP
    image_size: int = 224
    patch_size: int = 14
    language: TransformerConfig = _GEMMA
    head_width: int = 256
    vocabulary: int = 257216
    max_text_tokens: int = 48
    num_subtasks: int = 8
    num_latents: int = 12
    max_latents: int = 64
    latent_attention: LatentAttention = LatentAttention.CAUSAL
    lora_rank: int = 0
    """Rank of the adapters that fine-tuning adds to Gemma's matrices and trains with the action decoder; 0 (the paper):
    the backbone stays as it is."""
    lora_alpha: float = 32.0
    """Adapters are multiplied by `lora_alpha / lora_rank`."""

    def __post_init__(self) -> None:
        """Refuse an empty weights name, sizes below 1 and fewer than 2 text tokens; raises RequestError."""
        weights: object = self.weights  # a recipe's value need not have the annotated type
        named = isinstance(weights, str) and bool(weights.strip())
        require(self, "weights", fits=named, wanted=f"a folder, a hub name or {RANDOM}")
        require_whole(self, "image_size", "patch_size", "head_width", "vocabulary", "num_subtasks")
        require_whole(self, "max_text_tokens", least=2)
        require_whole(self, "max_latents")
        require_whole(self, "num_latents", most=self.max_latents)
        require_whole(self, "lora_rank", least=0)
        require_positive(self, "lora_alpha")


class LatentGradient(StrEnum):
    """How the gradient flows from a token's code to the predicted vector."""

    NEAREST = "nearest"
    """Straight-through: the gradient of the code is used for the vector."""
    SOFTMAX = "softmax"
    """Through the expected code under the softmax distribution."""
    GUMBEL = "gumbel"
    """Like softmax, with Gumbel noise on the logits: in training, codes are samples of the distribution."""


class LatentDecoding(StrEnum):
    """How the backbone produces latent tokens."""

    PARALLEL = "parallel"
    """All in one pass, each from its own query."""
    AUTOREGRESSIVE = "autoregressive"
    """One after another, each conditioned on the previous codes; teacher-forced in training."""


class LatentChoice(StrEnum):
    """How a policy picks a code from the distribution."""

    ARGMAX = "argmax"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentConfig:
    """How latent tokens are predicted.

    Assumes: one parallel pass. Equation 15 suggests token-by-token decoding, but 12 passes per chunk would exceed the
        latency in the paper's table 9.
    """

    gradient: LatentGradient = LatentGradient.SOFTMAX
    temperature: float = 0.1
    """Temperature of the distribution: logits are the negative mean squared distance per dimension, divided by it."""
    decoding: LatentDecoding = LatentDecoding.PARALLEL

    def __post_init__(self) -> None:
        """Refuse a temperature of 0 or below; raises RequestError."""
        require_positive(self, "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms.

    Assumes: features, cross and tokens, which the paper does not have (`--set preset=paper` removes them).
    Assumes: l1 and ssim as in Gaussian splatting, visual = action = 1, commitment as in VQ-VAE; the paper gives no
        values.
    """

    l1: float = 0.8
    ssim: float = 0.2
    commitment: float = 0.25
    codebook: float = 1.0
    """Pulls codes towards their encodings; unused with `codebook.update=ema`, where moving averages do that."""
    usage_match: float = 0.1
    """Pulls both modalities towards the same codes; the paper uses 0."""
    features: float = 0.5
    """Warmup: error of predicted features, relative to their true change (`visual_decoder.predicts_features`)."""
    motion: float = 0.0
    """Weights the L1 of a pixel by 1 + motion x change / mean change, scaled to mean 1 per image; 0: equal weights."""
    cross: float = 1.0
    """Warmup, paired windows: error of actions decoded from the video's code."""
    visual: float = 1.0
    action: float = 1.0
    tokens: float = 1.0
    """Co-training: cross-entropy between latent tokens and the frozen encoder's codes of the true futures. Without it,
    the tokens of a new backbone collapse to one code. The paper uses 0. Unused while the codebook still learns."""
    chunk_tokens: float = 0.0
    """Co-training, paired batches: cross-entropy between latent tokens and the frozen encoder's codes of the true
    action chunks. With `segment_latents=own` it applies to the first latent of each segment, otherwise to the first
    latent of all."""
    subtasks: float = 0.0
    """Co-training, paired batches: cross-entropy between subtasks and weak labels, which are guessed from actions."""
    subtask_entropy: float = 0.0
    """Co-training: rewards subtasks that are certain for each sample but evenly used over all; the paper uses 0."""
    paired_ssim: bool = False
    """Also use SSIM for paired batches. The paper has it in eq 19 but not in eq 20."""

    def __post_init__(self) -> None:
        """Refuse negative or non-finite weights; raises RequestError."""
        require_not_negative(self, *(one.name for one in fields(self) if one.name != "paired_ssim"))


class Component(StrEnum):
    """The parts of a model. A checkpoint has one file for each; the names are attributes of `Vita`."""

    CODEBOOK = "codebook"
    VISUAL_ENCODER = "visual_encoder"
    VISUAL_DECODER = "visual_decoder"
    ACTION_ENCODER = "action_encoder"
    ACTION_DECODER = "action_decoder"
    BACKBONE = "backbone"


@dataclass(frozen=True, slots=True, kw_only=True)
class VitaConfig:
    """The configs of all parts; the defaults are the full size of table 11."""

    joints: bool = False
    """Actions include the joint targets of both arms, 14 more columns: for robots of which only joints are known. Every
    run that continues another one needs the same value."""
    visual: FeatureConfig = field(default_factory=FeatureConfig)
    visual_encoder: VisualEncoderConfig = field(default_factory=VisualEncoderConfig)
    visual_decoder: VisualDecoderConfig = field(default_factory=VisualDecoderConfig)
    action_encoder: ActionEncoderConfig = field(default_factory=ActionEncoderConfig)
    action_decoder: ActionDecoderConfig = field(default_factory=ActionDecoderConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    cot: ReasoningConfig = field(default_factory=ReasoningConfig)
    latents: LatentConfig = field(default_factory=LatentConfig)

    @property
    def num_action_dims(self) -> int:
        """Number of columns of an action."""
        return len(batch_columns(joints=self.joints))
