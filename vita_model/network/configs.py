"""The shapes of all parts of the model and the weights of its losses, as recipes write them and checkpoints keep them.

Imports no torch, so that a typo in a recipe or in `--set` is told at once. What each number means is said where it is
used: the module that builds the part.
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
from vita_model.network.reasoning import ReasoningConfig

RANDOM = "random"
"""The name that asks for drawn weights instead of released ones."""
TIMM = "timm:"
"""Begins the name of weights that timm gives."""


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

    Assumes: stored 256x256 images are resized to 224, since 256 is no multiple of the patch of 14. The position table
    is resized as transformers does it, by plain bicubic weights, for timm's weights too; timm smooths while it shrinks.
    """

    backbone: str = "facebook/dinov2-base"
    """Whose weights: a folder or hub name in the Hugging Face format, `timm:NAME`, or `random`."""
    input_size: int = 224
    patch_size: int = 14
    position_size: int = 518
    """Image size that the position table belongs to; the released weights use 518."""
    encoder: TransformerConfig = VIT_BASE
    random_seed: int = 0
    """Draws the weights of `random`, so that every stage sees the same features without storing them."""

    def __post_init__(self) -> None:
        """Refuse a backbone without name, sizes below 1 and seeds that torch has not; raises RequestError."""
        backbone: object = self.backbone  # a recipe's value need not have the annotated type
        named = isinstance(backbone, str) and backbone.strip() not in ("", TIMM)
        require(self, "backbone", fits=named, wanted=f"a folder, a hub name, {TIMM}NAME or {RANDOM}")
        require_whole(self, "input_size", "patch_size", "position_size")
        require_whole(self, "random_seed", least=0, most=MAX_SEED)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.input_size // self.patch_size


class PositionStart(StrEnum):
    """What the learned positions of image patches start as."""

    SINCOS = "sincos"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualEncoderConfig:
    """The M-Former of 20M parameters (VITA 3.1.1, table 11).

    Assumes: "memory-augmented" means learned register tokens; features join on channels (eq 2); one latent a pair.
    """

    blocks: TransformerConfig = _M_FORMER
    num_latents: int = 1
    """Latents of one frame pair."""
    num_memory: int = 7
    positions: PositionStart = PositionStart.SINCOS
    moved_views: float = 0.0
    """Largest shift of both frames of a pair, as a share of the image side, that the encoder sees in training and the
    decoder does not: a code can then say what moves, and not where things are. For mixtures without paired windows,
    where nothing else asks for motion (`presets.without_pairs`); 0 is the paper."""

    def __post_init__(self) -> None:
        """Refuse sizes that no encoder has; raises RequestError."""
        require_whole(self, "num_latents")
        require_whole(self, "num_memory", least=0)
        require_part(self, "moved_views")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualDecoderConfig:
    """The 12-layer ViT decoder of 96M parameters (VITA 4.1.2, table 11)."""

    blocks: TransformerConfig = VIT_BASE
    latent_ffn_width: int = 2048
    output_size: int = 256
    """Pixels along a side; a smaller preset compares with the target resized to this."""
    max_latents: int = 64
    max_frames: int = 64
    positions: PositionStart = PositionStart.SINCOS
    predicts_features: bool = True
    """Predict the features of the future frame too, as a change of the present ones (VITA 8.1: "a forward model in
    DINOv2's feature space"; `loss.features` weighs it). L1 alone leaves a pixel as it is unless change is likelier."""
    sees_pixels: bool = False
    """Read the present frame's pixels beside its features; for mixtures without paired windows."""
    residual: bool = False
    """Add the output to the present frame; for mixtures without paired windows."""

    def __post_init__(self) -> None:
        """Refuse sizes below 1; raises RequestError."""
        require_whole(self, "latent_ffn_width", "output_size", "max_latents", "max_frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEncoderConfig:
    """The MLP encoder of 10M parameters (VITA eq 6, table 11); its horizon is fixed.

    Assumes: a chunk is 12 native steps (table 11 "sampling steps 12").
    """

    horizon: int = 12
    width: int = 2624

    def __post_init__(self) -> None:
        """Refuse sizes below 1; raises RequestError."""
        require_whole(self, "horizon", "width")


class ActionContext(StrEnum):
    """What the action decoder reads beside the latents."""

    NONE = "none"
    """Nothing: what the actions need must pass through the latents (VITA eq 16)."""
    STATES = "states"
    """The backbone's states of images, text and state (VITA 8.1: "contextual inputs")."""


class SegmentLatents(StrEnum):
    """Which latents a segment of a chunk is decoded from."""

    ALL = "all"
    OWN = "own"
    """Those of its own transition: segment i is the actions of second i (VITA 10.8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDecoderConfig:
    """The transformer decoder of 228M parameters (VITA 4.1.2, 8.1)."""

    blocks: TransformerConfig = _DECODER_BLOCKS
    max_steps: int = 64
    max_latents: int = 64
    num_segments: int = 1
    """Segments that a chunk is decoded in, each with its own inverse DCT (VITA 10.8: 15 of 12 steps)."""
    segment_latents: SegmentLatents = SegmentLatents.ALL
    """`own` with `windows.chunk_s` as long as the futures makes one stream of seconds: each has a frame and actions."""
    context: ActionContext = ActionContext.NONE
    context_dropout: float = 0.1
    """Share of samples that hide the states in training, so that the decoder keeps reading the latents."""

    def __post_init__(self) -> None:
        """Refuse sizes below 1 and a share outside [0, 1); raises RequestError."""
        require_whole(self, "max_steps", "max_latents", "num_segments")
        require_part(self, "context_dropout")


class ModalityNorm(StrEnum):
    """What each modality's encodings go through before the nearest code is searched."""

    NONE = "none"
    BATCH = "batch"


class CodeUpdate(StrEnum):
    """How codes learn: moving averages of their encodings, or the gradient of a loss term as in Algorithm 1."""

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
    """Softness of the usage marginal, in units of the mean squared difference per dimension."""
    dead_below: float = 0.01
    """EMA count under which a code is dead; 1024 vectors over 8192 codes average 0.125."""
    grace_updates: int = 200
    """Updates a fresh code is left alone."""
    num_recent: int = 4096
    """Recent encodings kept to replace dead codes with."""
    continuous_updates: int | None = None
    """Updates in which encodings pass through unquantized before codes are filled; None: a third of warmup; 0: codes
    from the first batch, as in the paper."""
    last_replacement: int | None = None
    """Updates after which codes are no longer replaced; None: in the last 20% of the run they only settle."""
    shared: bool = True
    """One table for both modalities; false: one each (VITA figure 20, "w/o modality alignment")."""
    freeze: bool = True
    """Leave the codes as warmup made them in co-training; false: they learn on from predicted latents (table 7)."""

    def __post_init__(self) -> None:
        """Refuse what no codebook can be; raises RequestError."""
        require_whole(self, "num_codes", "width", "num_recent")
        require_whole(self, "grace_updates", least=0)
        given = [name for name in ("continuous_updates", "last_replacement") if getattr(self, name) is not None]
        require_whole(self, *given, least=0)
        require_part(self, "decay")
        require_positive(self, "match_temperature")
        require_not_negative(self, "dead_below")


class LatentAttention(StrEnum):
    """Whether a latent sees later latents."""

    CAUSAL = "causal"
    BIDIRECTIONAL = "bidirectional"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """PaliGemma-3B at 224 px (VITA 4.1.2) with our queries.

    Assumes: latents come in one parallel pass, causal among themselves (the paper's latency excludes one pass a token);
    8 textual queries; text of 48 tokens; the embedding table stays frozen, as no loss reads it.
    """

    weights: str = "google/paligemma-3b-pt-224"
    """Where SigLIP, projector, Gemma and the tokenizer come from: a folder, a hub name, or `random` (text as bytes)."""
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

    def __post_init__(self) -> None:
        """Refuse weights without name, sizes below 1, and text without room for two tokens; raises RequestError."""
        weights: object = self.weights  # a recipe's value need not have the annotated type
        named = isinstance(weights, str) and bool(weights.strip())
        require(self, "weights", fits=named, wanted=f"a folder, a hub name or {RANDOM}")
        require_whole(self, "image_size", "patch_size", "head_width", "vocabulary", "num_subtasks")
        require_whole(self, "max_text_tokens", least=2)
        require_whole(self, "max_latents")
        require_whole(self, "num_latents", most=self.max_latents)


class LatentGradient(StrEnum):
    """How the gradient passes from a token's code to the vector that chose it."""

    NEAREST = "nearest"
    """Straight through: the code's gradient is the vector's."""
    SOFTMAX = "softmax"
    """Through the expected code under the distribution."""
    GUMBEL = "gumbel"
    """As softmax, of logits with Gumbel noise, which also choose the code in training: samples of the distribution."""


class LatentDecoding(StrEnum):
    """How tokens come out of the backbone."""

    PARALLEL = "parallel"
    """All in one pass, each from its query."""
    AUTOREGRESSIVE = "autoregressive"
    """One after the other, each seeing the codes before it; teacher-forced in training."""


class LatentChoice(StrEnum):
    """Which code of the distribution a policy takes."""

    ARGMAX = "argmax"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentConfig:
    """What latent tokens are.

    Assumes: one parallel pass; eq 15 reads as decoded token by token, but 12 passes a chunk exceed the latency of the
        paper's table 9.
    """

    gradient: LatentGradient = LatentGradient.SOFTMAX
    temperature: float = 0.1
    """Of the distribution: logits are minus the mean squared distance a dimension, over this."""
    decoding: LatentDecoding = LatentDecoding.PARALLEL

    def __post_init__(self) -> None:
        """Refuse a temperature that is not above 0; raises RequestError."""
        require_positive(self, "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms.

    Assumes: features, cross and tokens, which the paper does not have (`--set preset=paper`).
    Assumes: l1 and ssim (the paper is silent) as in Gaussian splatting; visual = action = 1; commitment as in VQ-VAE.
    """

    l1: float = 0.8
    ssim: float = 0.2
    commitment: float = 0.25
    codebook: float = 1.0
    """Pulls codes to their encodings; there is no such term where moving averages do that (`codebook.update=ema`)."""
    usage_match: float = 0.1
    """Pulls the two modalities onto the same codes; 0 is the paper."""
    features: float = 0.5
    """Warmup: error of predicted features, in units of how much they change (`visual_decoder.predicts_features`)."""
    motion: float = 0.0
    """Weighs L1 by 1 + motion x change / mean change of a pixel, mean 1 an image; 0: all pixels alike."""
    cross: float = 1.0
    """Warmup, paired windows: error of the actions decoded from the video's code."""
    visual: float = 1.0
    action: float = 1.0
    tokens: float = 1.0
    """Co-training: cross-entropy of the latent tokens to the codes that the frozen encoder gives the true futures;
    without it the tokens of a fresh backbone collapse to one code. 0 is the paper, and holds while codes learn."""
    chunk_tokens: float = 0.0
    """Co-training, paired batches: cross-entropy of the latent tokens to the codes that the frozen encoder gives the
    true chunks: of each segment with its own latents, otherwise of the first latent."""
    subtasks: float = 0.0
    """Co-training, paired batches: cross-entropy of the subtasks to weak labels, guessed from the actions."""
    subtask_entropy: float = 0.0
    """Co-training: rewards choices that tell samples apart: even over all samples, decided for each; 0 is the paper."""
    paired_ssim: bool = False
    """Eq 20 has no SSIM term for paired batches although eq 19 has one."""

    def __post_init__(self) -> None:
        """Refuse weights that are negative or not finite; raises RequestError."""
        require_not_negative(self, *(one.name for one in fields(self) if one.name != "paired_ssim"))


class Component(StrEnum):
    """The parts that a checkpoint stores one file each of; the names are attributes of `Vita`."""

    CODEBOOK = "codebook"
    VISUAL_ENCODER = "visual_encoder"
    VISUAL_DECODER = "visual_decoder"
    ACTION_ENCODER = "action_encoder"
    ACTION_DECODER = "action_decoder"
    BACKBONE = "backbone"


@dataclass(frozen=True, slots=True, kw_only=True)
class VitaConfig:
    """The shapes of all parts; defaults are the full size of table 11."""

    visual: FeatureConfig = field(default_factory=FeatureConfig)
    visual_encoder: VisualEncoderConfig = field(default_factory=VisualEncoderConfig)
    visual_decoder: VisualDecoderConfig = field(default_factory=VisualDecoderConfig)
    action_encoder: ActionEncoderConfig = field(default_factory=ActionEncoderConfig)
    action_decoder: ActionDecoderConfig = field(default_factory=ActionDecoderConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    cot: ReasoningConfig = field(default_factory=ReasoningConfig)
    latents: LatentConfig = field(default_factory=LatentConfig)
