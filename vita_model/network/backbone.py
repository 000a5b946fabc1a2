"""The VLM: SigLIP and Gemma with two reasoning steps, first textual, then cross-modal (VITA 3.2, eq 10 to 15).

The prefix pass processes images, instruction and state, and predicts subtasks from the textual queries. The second pass
processes the chosen subtasks and predicts the latents. `paligemma.load_paligemma` loads the released weights.
Letters: B batch, V views, S text tokens, N input rows, M subtasks, L latents, W width, D latent width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GemmaConfig, GemmaModel, SiglipVisionConfig, SiglipVisionModel
from transformers.initialization import no_init_weights

from vita_data.slots import STATE_DIM
from vita_model.distributed import previous_rows
from vita_model.network.configs import RANDOM, BackboneConfig, LatentAttention, LatentDecoding
from vita_model.network.gemma import Group, KeyValue, give_caches, group_mask, positions, run_layers
from vita_model.network.layers import learned, mlp, unit_images
from vita_model.network.lora import adapters_of, add_adapters
from vita_model.network.reasoning import ReasoningConfig, VisualReasoning
from vita_model.network.weights.tokenizer import ByteTokenizer, Tokenizer, Tokens

SUBTASKS = ("grasp", "lift", "move", "place", "rotate", "open", "close", "end_subtask")
"""The fixed subtask vocabulary (VITA 3.2.2)."""
_END = SUBTASKS.index("end_subtask")
_MAX_VIEWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Final hidden states [B, N, W] of the input rows, their mask [B, N], and their keys and values.

    With `hides_text`, the instruction is not part of it.
    """

    hidden: Tensor
    mask: Tensor
    cache: list[KeyValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtasks:
    """The textual reasoning: embeddings [B, M, W], mask [B, M], chosen indices [B, M], probabilities [B, M, 8]."""

    embeddings: Tensor
    mask: Tensor
    indices: Tensor
    probabilities: Tensor

    def rolled(self) -> "Subtasks":
        """Give each sample the subtasks of the previous sample in the global batch; every rank must call this."""
        return Subtasks(**{one.name: previous_rows(getattr(self, one.name)) for one in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """Output of the backbone: latents [B, L, D] before quantization, context and subtasks."""

    latents: Tensor
    visual: Tensor | None
    """[B, L, D] separate latents for the frames (`cot.visual=explicit`); None: `latents` serve frames and actions."""
    context: Context
    subtasks: Subtasks


Choose = Callable[[Tensor, int], Tensor]
"""Function of a predicted vector [B, 1, D] and its token number that gives the code [B, 1, D]."""


@dataclass(frozen=True, slots=True)
class TokensBefore:
    """Previous tokens that each latent sees in autoregressive decoding."""

    codes: Tensor | None = None
    """[B, L, D] true codes for teacher forcing: latent i sees the code of token i - 1; None: decode token by token."""
    choose: Choose | None = None
    """Chooses a token's code when true codes are not given."""


class Backbone(nn.Module):
    """p_theta: predicts subtasks, then latents, from images, instruction and state.

    Random weights are initialized at once. Parameters of released weights are NaN until the weights are loaded, so that
    a model whose weights were never loaded cannot produce plausible output.
    """

    def __init__(
        self,
        config: BackboneConfig,
        *,
        latent_width: int,
        reasoning: ReasoningConfig | None = None,
        decoding: LatentDecoding = LatentDecoding.PARALLEL,
    ) -> None:
        super().__init__()
        self.config = config
        reasoning = reasoning or ReasoningConfig()
        is_autoregressive = decoding is LatentDecoding.AUTOREGRESSIVE
        if is_autoregressive and (
            reasoning.visual is not VisualReasoning.INTERNAL or config.latent_attention is not LatentAttention.CAUSAL
        ):
            raise ValueError(
                "latents.decoding=autoregressive needs cot.visual=internal and backbone.latent_attention=causal"
            )
        self.num_subtasks = config.num_subtasks if reasoning.text else 0
        self.hides_text = reasoning.hides_text
        self.tokenizer: Tokenizer = ByteTokenizer(max_tokens=config.max_text_tokens)
        if self.tokenizer.num_tokens > config.vocabulary:
            raise ValueError(
                f"vocabulary {config.vocabulary} is smaller than the tokenizer's {self.tokenizer.num_tokens} tokens"
            )
        if config.image_size < config.patch_size or config.head_width % 2:
            raise ValueError("the backbone's image_size must be at least patch_size, and head_width must be even")
        width = config.language.width
        with _initialized_if(config.weights == RANDOM):
            self.vision = SiglipVisionModel(_vision_config(config))
            self.gemma = give_caches(GemmaModel(_language_config(config)))
            self.projector = nn.Linear(config.vision.width, width)
        if config.weights != RANDOM:
            _fill_with_nan([self.vision, self.gemma, self.projector])
        if config.lora_rank:
            add_adapters(self.gemma.layers, rank=config.lora_rank, alpha=config.lora_alpha)
        # Initialize queries at the scale of the text embeddings, which Gemma multiplies by sqrt(width).
        self.query_scale = scale = self.gemma.config.initializer_range * width**0.5
        self.view = learned(_MAX_VIEWS, width)
        self.state = mlp(2 * STATE_DIM, width, width)
        self.text_queries = learned(config.num_subtasks, width, std=scale)
        self.subtask_rows = learned(len(SUBTASKS), width, std=scale)
        self.latent_queries = learned(config.max_latents, width, std=scale)
        self.latent_head = nn.Linear(width, latent_width)
        self.latent_in = nn.Linear(latent_width, width) if is_autoregressive else None
        explicit = reasoning.visual is VisualReasoning.EXPLICIT
        self.visual_queries = learned(config.max_latents, width, std=scale) if explicit else None
        self.visual_head = nn.Linear(width, latent_width) if explicit else None

    def freeze_vocabulary(self) -> None:
        """Freeze the token embeddings."""
        self.gemma.embed_tokens.requires_grad_(requires_grad=False)

    def train_adapters(self) -> None:
        """Let the adapters learn, if there are any; everything else keeps its setting."""
        for parameter in adapters_of(self.gemma):
            parameter.requires_grad_()

    def num_positions(self, num_views: int) -> int:
        """Count the rows of a sample that the language model processes in both passes, padding included."""
        inputs = num_views * (self.config.image_size // self.config.patch_size) ** 2 + self.config.max_text_tokens + 1
        return inputs + 2 * self.num_subtasks + len(self._latent_groups)

    def tokens(self, instruction: Sequence[str], device: torch.device) -> Tokens:
        """Tokenize texts and move the tokens to the device."""
        tokens = self.tokenizer.encode(instruction)
        return Tokens(ids=tokens.ids.to(device), mask=tokens.mask.to(device))

    def forward(
        self,
        images: Tensor,
        image_mask: Tensor,
        tokens: Tokens,
        state: Tensor,
        state_mask: Tensor,
        before: TokensBefore | None = None,
    ) -> Reasoning:
        """Reason over images uint8 [B, V, 256, 256, 3] with mask [B, V], text, and state [B, 64] with mask [B, 64].

        `before` gives the previous tokens for autoregressive decoding. The method has no data-dependent control flow
        and no host synchronization, so that it compiles as one graph.
        """
        rows, mask = self._inputs(images, image_mask, tokens, state, state_mask)
        context, answers = self._read(rows, mask, num_words=tokens.ids.shape[1])
        subtasks = self._choose(answers)
        latents, visual = self._imagine(context, subtasks, before)
        return Reasoning(latents=latents, visual=visual, context=context, subtasks=subtasks)

    def with_subtasks(self, reasoning: Reasoning, subtasks: Subtasks, before: TokensBefore | None = None) -> Reasoning:
        """Repeat the second pass on the same inputs with other subtasks."""
        latents, visual = self._imagine(reasoning.context, subtasks, before)
        return replace(reasoning, latents=latents, visual=visual, subtasks=subtasks)

    def _inputs(
        self, images: Tensor, image_mask: Tensor, tokens: Tokens, state: Tensor, state_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embed the inputs as rows [B, N, W] with mask [B, N]: views, text, state; text last if `hides_text`."""
        batch, views = image_mask.shape
        pixels = unit_images(images.flatten(0, 1), self.config.image_size) * 2 - 1
        seen: Tensor = self.projector(self.vision(pixels).last_hidden_state)
        seen = seen.reshape(batch, views, -1, seen.shape[-1]) + self.view[:views, None]
        clean = torch.where(state_mask, state, 0.0)
        felt: Tensor = self.state(torch.cat([clean, state_mask.to(clean.dtype)], dim=-1))
        rows = [seen.flatten(1, 2), self.gemma.embed_tokens(tokens.ids), felt[:, None]]
        seen_mask = image_mask.repeat_interleave(seen.shape[2], dim=1)
        masks = [seen_mask, tokens.mask, state_mask.any(dim=1, keepdim=True)]
        order = (0, 2, 1) if self.hides_text else (0, 1, 2)
        return torch.cat([rows[part] for part in order], dim=1), torch.cat([masks[part] for part in order], dim=1)

    def _read(self, rows: Tensor, mask: Tensor, *, num_words: int) -> tuple[Context, Tensor]:
        """Run the prefix pass, followed by the textual queries; returns the context and the answers [B, M, W].

        With `hides_text`, the instruction counts as textual tokens: neither the other inputs nor later passes see it.
        """
        (batch, num_rows, _), num_text = rows.shape, self.num_subtasks
        num_input = num_rows - num_words if self.hides_text else num_rows
        whole = torch.cat([mask, mask.new_ones(batch, num_text)], dim=1)
        groups = [Group.INPUT] * num_input + [Group.TEXT] * (num_rows - num_input + num_text)
        rows = torch.cat([rows, self.text_queries[:num_text].to(rows.dtype).expand(batch, -1, -1)], dim=1)
        allowed = group_mask(groups, groups, whole, causal=())
        hidden, cache = run_layers(self.gemma, rows, positions(whole), allowed)
        cut = [layer.first(num_input) for layer in cache]
        return Context(hidden=hidden[:, :num_input], mask=mask[:, :num_input], cache=cut), hidden[:, num_rows:]

    def _choose(self, answers: Tensor) -> Subtasks:
        """Pick a subtask per query (VITA eq 12): hard forward, softmax gradient; the first end masks later ones."""
        logits = answers @ self.subtask_rows.T / answers.shape[-1] ** 0.5
        probabilities = F.softmax(logits.float(), dim=-1)
        picked = probabilities.argmax(dim=-1)
        ended = (picked == _END).long()
        mask = ended.cumsum(dim=1) - ended == 0
        indices = torch.where(mask, picked, _END)
        hard = F.one_hot(indices, len(SUBTASKS)).to(probabilities.dtype)
        choice = hard + torch.where(mask[..., None], probabilities - probabilities.detach(), 0.0)
        embeddings = choice.to(answers.dtype) @ self.subtask_rows
        return Subtasks(embeddings=embeddings, mask=mask, indices=indices, probabilities=probabilities)

    def _imagine(
        self, context: Context, subtasks: Subtasks, before: TokensBefore | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the second pass over subtasks and latent queries (VITA eq 14, 15).

        Returns:
            Latents [B, L, D], and the separate latents of the frames, if any.
        """
        batch, num_latents = len(context.mask), self.config.num_latents
        groups, queries = self._latent_groups, self._latent_queries()
        queries = queries.expand(batch, -1, -1)
        if self.latent_in is not None:
            if before is None or before.codes is None:
                return self._unrolled(context, subtasks, queries, before), None
            queries = torch.cat([queries[:, :1], queries[:, 1:] + self.latent_in(before.codes[:, :-1])], dim=1)
        own_mask = torch.cat([subtasks.mask, subtasks.mask.new_ones(batch, len(groups))], dim=1)
        own = [Group.TEXT] * self.num_subtasks + groups
        is_causal = self.config.latent_attention is LatentAttention.CAUSAL
        allowed = group_mask(
            own,
            [Group.INPUT] * context.mask.shape[1] + own,
            torch.cat([context.mask, own_mask], dim=1),
            causal=(Group.LATENT, Group.ACTION) if is_causal else (),
        )
        position = positions(own_mask, start=context.mask.sum(dim=1))
        # The residual stream stays in float32 under autocast, as in the prefix pass.
        rows = torch.cat([subtasks.embeddings.to(queries.dtype), queries], dim=1)
        hidden, _ = run_layers(self.gemma, rows, position, allowed, context.cache)
        latents: Tensor = self.latent_head(hidden[:, -num_latents:])
        if self.visual_head is None:
            return latents, None
        return latents, self.visual_head(hidden[:, -2 * num_latents : -num_latents])

    def _unrolled(self, context: Context, subtasks: Subtasks, queries: Tensor, before: TokensBefore | None) -> Tensor:
        """Decode latents one by one with a growing cache: each sees the previously chosen codes (VITA eq 15).

        Raises:
            ValueError: there is no function that chooses codes.
        """
        if before is None or before.choose is None or self.latent_in is None:
            raise ValueError("autoregressive latents need either true codes or a function that chooses codes")
        own_mask = torch.cat([subtasks.mask, subtasks.mask.new_ones(len(queries), queries.shape[1])], dim=1)
        place = positions(own_mask, start=context.mask.sum(dim=1))
        rows, first, cache = torch.cat([subtasks.embeddings.to(queries.dtype), queries[:, :1]], dim=1), 0, context.cache
        found: list[Tensor] = []
        for number in range(queries.shape[1]):
            stop = first + rows.shape[1]
            own = [Group.TEXT] * self.num_subtasks + [Group.LATENT] * (number + 1)
            keys = torch.cat([context.mask, own_mask[:, :stop]], dim=1)
            groups = [Group.INPUT] * context.mask.shape[1] + own
            allowed = group_mask(own[first:], groups, keys, causal=(Group.LATENT,))
            hidden, kept = run_layers(self.gemma, rows, place[:, first:stop], allowed, cache)
            cache = [old.followed_by(new) for old, new in zip(cache, kept, strict=True)]
            found.append(self.latent_head(hidden[:, -1:]))
            if number + 1 < queries.shape[1]:
                code = before.choose(found[-1], number)
                rows, first = queries[:, number + 1 : number + 2] + self.latent_in(code.to(queries.dtype)), stop
        return torch.cat(found, dim=1)

    def _latent_queries(self) -> Tensor:
        """Give the queries of the second pass: one stream, or frames followed by actions."""
        num_latents = self.config.num_latents
        queries = self.latent_queries[:num_latents]
        return queries if self.visual_queries is None else torch.cat([self.visual_queries[:num_latents], queries])

    @property
    def _latent_groups(self) -> list[Group]:
        """The groups of these queries."""
        frames = [Group.LATENT] * self.config.num_latents
        return frames if self.visual_queries is None else frames + [Group.ACTION] * self.config.num_latents


@contextmanager
def _initialized_if(draws: bool) -> Iterator[None]:  # noqa: FBT001 - the one thing it is about
    """Initialize weights inside the context, or leave them uninitialized: drawing billions takes minutes."""
    if draws:
        yield
        return
    with no_init_weights():
        yield


@torch.no_grad()
def _fill_with_nan(parts: list[nn.Module]) -> None:
    for part in parts:
        for parameter in part.parameters():
            parameter.fill_(torch.nan)


def _vision_config(config: BackboneConfig) -> SiglipVisionConfig:
    shape = config.vision
    return SiglipVisionConfig(
        hidden_size=shape.width,
        intermediate_size=shape.ffn_width,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        vision_use_head=False,
    )


def _language_config(config: BackboneConfig) -> GemmaConfig:
    shape = config.language
    return GemmaConfig(
        vocab_size=config.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.ffn_width,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=1,
        head_dim=config.head_width,
    )
