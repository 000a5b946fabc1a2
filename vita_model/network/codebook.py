"""The codebook that both modalities share: nearest code, straight-through gradient, EMA learning (VITA eq 1, 3, 7).

Codes are learned in train mode, by moving averages or by gradient, and are frozen in eval mode. Everything runs in
float32, because distances in bfloat16 produce ties. All statistics are those of the global batch, so that every rank
has the same codes as a single process would.
Training begins with a continuous phase: encodings are whitened but not quantized, so that the auto-encoders learn
useful encodings first. Afterwards the codes are initialized with encodings of that time.
Letters: B batch, Q latents, D width, K codes, n real vectors of a batch.

Assumes: the continuous phase. Encodings that are quantized before they carry information never learn to carry any:
    those of videos collapse to one direction. The paper has no such phase (`continuous_updates=0`).
Assumes: EMA (van den Oord et al., 2017) instead of the gradient of Algorithm 1 (`update=grad`), replacement of dead
    codes, and normalization per modality before the search. Without them most codes die, and the modalities use
    disjoint codes.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vita_data.types import Modality
from vita_model.distributed import all_rows, all_sum
from vita_model.network.configs import CodebookConfig, CodeUpdate, ModalityNorm
from vita_model.network.losses import masked_mean

_ENCODED = (Modality.VIDEO, Modality.ACTION)
_TINY = 1e-8
_EPSILON, _MOMENTUM = 1e-5, 0.1
"""Epsilon and momentum of the moving moments, as in batch norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A batch of encodings mapped to codes."""

    latents: Tensor
    """[B, Q, D] the code with a straight-through gradient; in the continuous phase the encoding itself."""
    indices: Tensor | None
    """int64 [B, Q]; None in the continuous phase."""
    vectors: Tensor
    """[B, Q, D] vectors used in the search: whitened encodings, or predicted vectors."""
    commitment: Tensor
    """Scalar: mean squared distance of unmasked encodings to their codes, without gradient for the codes."""
    codebook: Tensor | None
    """Scalar: the same distance, without gradient for the encodings; None if codes do not train by gradient."""
    usage_match: Tensor
    """Scalar: KL of this batch's soft code usage from the other modality's; 0 in eval mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Code usage of the modalities, from moving averages."""

    perplexity: dict[Modality, float]
    overlap: float
    """Overlap of the two usage distributions: 0 if disjoint, 1 if equal."""
    num_dead: int


class Codebook(nn.Module):
    """K codes with moving averages of their assignments."""

    codes: Tensor
    """[K, D]"""
    counts: Tensor
    sums: Tensor
    ages: Tensor
    usage: Tensor
    soft_usage: Tensor
    recent: Tensor
    num_filled: Tensor
    num_recent: Tensor
    num_updates: Tensor

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        num_codes, width = config.num_codes, config.width
        codes = torch.zeros(num_codes, width)
        if config.update is CodeUpdate.GRAD:
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)
        self.register_buffer("sums", torch.zeros(num_codes, width))
        self.register_buffer("counts", torch.zeros(num_codes))
        self.register_buffer("ages", torch.zeros(num_codes, dtype=torch.int64))
        self.register_buffer("usage", torch.zeros(len(_ENCODED), num_codes))
        self.register_buffer("soft_usage", torch.zeros(len(_ENCODED), num_codes))
        self.register_buffer("recent", torch.zeros(config.num_recent, width))
        for name in ("num_filled", "num_recent", "num_updates"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self.norms = nn.ModuleDict({str(m): Whitening(width) for m in _ENCODED})
        self.actions = None if config.shared else Codebook(replace(config, shared=True))
        """Separate table for actions if `shared` is false; this table is then only for videos."""

    def table(self, modality: Modality) -> "Codebook":
        """Give the codebook of a modality."""
        return self if self.actions is None or modality is Modality.VIDEO else self.actions

    def forward(self, encodings: Tensor, modality: Modality, mask: Tensor) -> Quantized:
        """Quantize encodings [B, Q, D] of one modality; in train mode, learn from those where mask [B] is True."""
        table = self.table(modality)
        result = table._encode(encodings, modality, mask)
        self._count_together()
        return result

    def _count_together(self) -> None:
        """Let two tables count the encodings of both modalities, because phases are parts of the run.

        Otherwise a table whose modality is drawn in fewer than a third of the steps would never leave the continuous
        phase.
        """
        if self.actions is not None:
            newest = self.num_updates.maximum(self.actions.num_updates)
            self.num_updates, self.actions.num_updates = newest, newest.clone()

    def _encode(self, encodings: Tensor, modality: Modality, mask: Tensor) -> Quantized:
        with torch.autocast(encodings.device.type, enabled=False):
            encodings, real = self._normalized(encodings.float(), modality, mask)
            if self.is_continuous:
                return self._pass_through(encodings, real)
            if not self.training:
                return self.nearest(encodings, mask)
            self._fill(real.detach())
            indices = self._indices(encodings)
            result = self._coded(encodings, indices, mask)
            match = self._usage_match(real, modality)
            self._learn(real.detach(), indices[mask].flatten(), modality)
        return replace(result, usage_match=match)

    def project(self, vectors: Tensor, modality: Modality, mask: Tensor) -> Quantized:
        """Map predicted vectors [B, Q, D] to a modality's nearest codes, without normalization; learn in train mode."""
        table = self.table(modality)
        if table is not self:
            return table.project(vectors, modality, mask)
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = vectors.float()
            if not self.training:
                return self.nearest(vectors, mask)
            real = vectors[mask].flatten(0, 1).detach()
            self._fill(real)
            indices = self._indices(vectors)
            result = self._coded(vectors, indices, mask)
            self._learn(real, indices[mask].flatten(), modality)
        return result

    @property
    def tables(self) -> tuple["Codebook", ...]:
        """List the tables: this one and, if there is one, that of actions."""
        return (self,) if self.actions is None else (self, self.actions)

    @property
    def is_filled(self) -> bool:
        """Tell whether every code is initialized."""
        return all(table._is_full for table in self.tables)

    @property
    def _is_full(self) -> bool:
        return int(self.num_filled) == self.config.num_codes

    @property
    def is_continuous(self) -> bool:
        """Tell whether encodings are still unquantized."""
        return not int(self.num_filled) and int(self.num_updates) < (self.config.continuous_updates or 0)

    def _pass_through(self, encodings: Tensor, real: Tensor) -> Quantized:
        if self.training and bool(all_sum(real.new_tensor(len(real)))):
            self.num_updates = self.num_updates + 1
        zero = encodings.new_zeros(())
        return Quantized(
            latents=encodings, indices=None, vectors=encodings, commitment=zero, codebook=None, usage_match=zero
        )

    @property
    def used(self) -> Tensor:
        """Moving code usage [2, K] of video and action; with separate tables, each modality's own."""
        return self.usage if self.actions is None else torch.stack([self.usage[0], self.actions.usage[1]])

    def summary(self) -> Usage:
        """Summarize the code usage; separate tables have overlap 0."""
        usage = self.used
        shares = usage / usage.sum(dim=1, keepdim=True).clamp(min=_TINY)
        entropy = -(shares * shares.clamp(min=_TINY).log()).sum(dim=1)
        used = usage.sum(dim=1) > 0
        perplexity = {m: float(entropy[i].exp()) if used[i] else 0.0 for i, m in enumerate(_ENCODED)}
        dead = sum(int((table.counts < self.config.dead_below).sum()) for table in self.tables)
        overlap = float(torch.minimum(*shares.unbind()).sum()) if self.actions is None else 0.0
        return Usage(perplexity=perplexity, overlap=overlap, num_dead=dead)

    def _normalized(self, encodings: Tensor, modality: Modality, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Whiten per modality; returns all encodings (masked ones zero), and the unmasked ones as [n, D]."""
        real = encodings[mask].flatten(0, 1)
        if self.config.modality_norm is ModalityNorm.BATCH:
            real = self.norms[str(modality)](real)
        whole = torch.zeros_like(encodings)
        whole[mask] = real.reshape(-1, *encodings.shape[1:])
        return whole, real

    def _scores(self, vectors: Tensor) -> Tensor:
        """Half the negative squared distance to each code up to a constant per row, [.., K]; empty codes at -inf.

        Codes get no gradient: losses on these scores move only the vectors.
        """
        codes = self.codes.detach()
        scores = vectors @ codes.T - 0.5 * codes.square().sum(dim=1)
        filled = torch.arange(len(codes), device=scores.device) < self.num_filled
        return scores.masked_fill(~filled, -torch.inf)

    def nearest(self, vectors: Tensor, mask: Tensor) -> Quantized:
        """Map vectors float32 [B, Q, D] to this table's nearest codes, without learning."""
        return self._coded(vectors, self._indices(vectors), mask)

    @torch.no_grad()
    def _indices(self, vectors: Tensor) -> Tensor:
        return self._scores(vectors).argmax(dim=-1)

    def _coded(self, vectors: Tensor, indices: Tensor, mask: Tensor) -> Quantized:
        codes, real = self.codes[indices], mask[:, None, None]
        trains = self.training and self.codes.requires_grad
        return Quantized(
            latents=vectors + (codes - vectors).detach(),
            indices=indices,
            vectors=vectors,
            commitment=masked_mean((vectors - codes.detach()).square(), real),
            codebook=masked_mean((vectors.detach() - codes).square(), real) if trains else None,
            usage_match=vectors.new_zeros(()),
        )

    def _usage_match(self, real: Tensor, modality: Modality) -> Tensor:
        """KL of this batch's soft code marginal from the moving marginal of the other modality, if any."""
        own = _ENCODED.index(modality)
        other = self.soft_usage[1 - own]
        num_real = float(all_sum(real.new_tensor(len(real))))
        if not num_real:
            return real.new_zeros(())
        temperature = 0.5 * self.config.match_temperature * self.config.width
        marginal = all_sum(F.softmax(self._scores(real) / temperature, dim=-1).sum(dim=0)) / num_real
        self.soft_usage = _averaged(self.soft_usage, own, marginal.detach(), self.config.decay)
        if not bool(other.any()):
            return real.new_zeros(())
        return (marginal * (marginal.clamp(min=_TINY) / other.clamp(min=_TINY)).log()).sum()

    @torch.no_grad()
    def _fill(self, real: Tensor) -> None:
        """Initialize codes with the first encodings, until all K are set (data-dependent initialization)."""
        start = int(self.num_filled)
        if start == self.config.num_codes:
            return
        real = all_rows(real)
        stop = min(start + len(real), self.config.num_codes)
        self._write(torch.arange(start, stop, device=real.device), real[: stop - start])
        self.num_filled = self.num_filled + (stop - start)

    @torch.no_grad()
    def _learn(self, real: Tensor, indices: Tensor, modality: Modality) -> None:
        """Move averages and codes towards the vectors assigned to them, replace dead codes, update statistics.

        An unused code keeps its value. Its sum and count decay together, and their quotient would become zero once both
        underflow; a zero code would then be the nearest code of every small vector.
        Buffers are replaced instead of modified in place, because autograd still references the old ones.
        """
        decay, num_codes = self.config.decay, self.config.num_codes
        hits = all_sum(torch.bincount(indices, minlength=num_codes).float())
        if not bool(hits.any()):
            return
        self.usage = _averaged(self.usage, _ENCODED.index(modality), hits / hits.sum(), decay)
        if self._is_full:
            self.counts = decay * self.counts + (1 - decay) * hits
            if self.config.update is CodeUpdate.EMA:
                total = all_sum(torch.zeros_like(self.sums).index_add_(0, indices, real))
                self.sums = decay * self.sums + (1 - decay) * total
                moved = self.sums / self.counts.clamp(min=_TINY)[:, None]
                self.codes = torch.where((hits > 0)[:, None], moved, self.codes)
            self.ages = self.ages + 1
            self.num_updates = self.num_updates + 1
            self._replace_dead()
        self._remember(all_rows(real))

    def _replace_dead(self) -> None:
        """Replace dead codes by the newest stored encodings, as many as there are."""
        config = self.config
        if int(self.num_updates) > (config.last_replacement or 0):
            return
        dead = ((self.counts < config.dead_below) & (self.ages > config.grace_updates)).nonzero().flatten()
        stored = int(self.num_recent)
        available = min(len(dead), stored, config.num_recent)
        newest = (stored - 1 - torch.arange(available, device=dead.device)) % config.num_recent
        self._write(dead[:available], self.recent[newest])

    def _write(self, rows: Tensor, values: Tensor) -> None:
        """Set codes together with their averages; otherwise the next EMA update would revert them."""
        if self.config.update is CodeUpdate.EMA:
            self.codes = self.codes.index_copy(0, rows, values)
        else:
            # The parameter object must stay the same; autograd reads its old data before this in each step.
            self.codes.data = self.codes.data.index_copy(0, rows, values)
        self.sums = self.sums.index_copy(0, rows, values)
        self.counts = self.counts.index_fill(0, rows, 1.0)
        self.ages = self.ages.index_fill(0, rows, 0)

    def _remember(self, real: Tensor) -> None:
        """Store encodings in the ring buffer of recent ones."""
        size = self.config.num_recent
        kept = real[-size:]
        slots = (int(self.num_recent) + len(real) - len(kept) + torch.arange(len(kept), device=real.device)) % size
        self.recent = self.recent.index_copy(0, slots, kept)
        self.num_recent = self.num_recent + len(real)


class Whitening(nn.Module):
    """Normalize columns to zero mean and unit variance over the global batch; in eval mode, by moving moments.

    torch's synchronized batch norm does not support CPUs, and per-rank moments would make codes depend on the number of
    ranks.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, rows: Tensor) -> Tensor:
        """Whiten rows [n, D]; in train mode also update the moments. A single row uses the moving moments."""
        num_rows = float(all_sum(rows.new_tensor(len(rows)))) if self.training else 0.0
        if num_rows < 2:
            return (rows - self.running_mean) * torch.rsqrt(self.running_var + _EPSILON)
        mean = all_sum(rows.sum(dim=0)) / num_rows
        var = all_sum((rows - mean).square().sum(dim=0)) / num_rows
        self._learn(mean.detach(), var.detach() * num_rows / (num_rows - 1))
        return (rows - mean) * torch.rsqrt(var + _EPSILON)

    @torch.no_grad()
    def _learn(self, mean: Tensor, var: Tensor) -> None:
        self.running_mean = (1 - _MOMENTUM) * self.running_mean + _MOMENTUM * mean
        self.running_var = (1 - _MOMENTUM) * self.running_var + _MOMENTUM * var
        self.num_batches_tracked = self.num_batches_tracked + 1


def _averaged(table: Tensor, row: int, values: Tensor, decay: float) -> Tensor:
    """Move one row of a table towards values; a row of zeros is set to them."""
    old = table[row]
    updated = table.clone()
    updated[row] = decay * old + (1 - decay) * values if bool(old.any()) else values
    return updated
