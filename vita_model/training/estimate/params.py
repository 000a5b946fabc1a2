"""`vita-train params`: the parameters of a recipe's model by part, next to the paper's numbers.

Parameters are counted on the meta device, without allocating weights.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from vita_data.command.tables import text_table
from vita_data.types import Stage
from vita_model.network.lora import adapters_of
from vita_model.network.vita import Vita
from vita_model.training.recipes.recipe import Recipe, building
from vita_model.training.stages import RULES, set_modes

_MILLION = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One row of the table."""

    name: str
    count: int
    trained: int
    """Number of parameters that the recipe's stage trains."""
    paper: float | None
    """The number in Table 11; None if it has none."""
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Relative difference from the paper's number."""
        return None if self.paper is None else self.count / self.paper - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterTable:
    """All parts of a recipe's model."""

    recipe: str
    stage: Stage
    parts: tuple[Part, ...]
    trained: Part
    """All trained parameters, with the paper's trainable total."""


def parameter_table(recipe: Recipe) -> ParameterTable:
    """Count a recipe's parameters (VITA table 11, section 8.1)."""
    with building(recipe), torch.device("meta"):
        model = Vita(recipe.model, RULES[recipe.stage].builds)
    set_modes(model, recipe.stage)
    parts = tuple(_parts(model))
    total, paper, note = sum(part.trained for part in parts), *_TRAINABLE[recipe.stage]
    return ParameterTable(
        recipe=recipe.name,
        stage=recipe.stage,
        parts=parts,
        trained=Part(name="trained", count=total, trained=total, paper=paper, note=note),
    )


_TRAINABLE: dict[Stage, tuple[float | None, str]] = {
    Stage.WARMUP: (324e6, "324M is the sum of the two decoders; Algorithm 1 and this code train all five parts"),
    Stage.COTRAIN: (2.8e9, "the nominal sum 400M + 2B + 324M, without Gemma's token embeddings, which stay frozen"),
    Stage.FINETUNE: (None, "the paper prints no number; its stage trains only the action decoder"),
}


def _parts(model: Vita) -> list[Part]:
    codes = model.codebook.codes.numel()
    rows = [
        _part("DINOv2", [model.features], paper=86e6, note="frozen, not in checkpoints"),
        _part("M-Former", [model.visual_encoder], paper=20e6),
        _part("visual decoder", [model.visual_decoder], paper=96e6, note=_feature_note(model)),
        _part("action encoder", [model.action_encoder], paper=10e6),
        _part("action decoder", [model.action_decoder], paper=228e6),
        Part(
            name="codebook",
            count=codes,
            trained=codes if model.codebook.training else 0,
            paper=None,
            note="by gradient" if isinstance(model.codebook.codes, nn.Parameter) else "by moving averages",
        ),
    ]
    backbone = model.backbone
    if backbone is None:
        return rows
    known = [backbone.vision, backbone.projector, backbone.gemma]
    extras = [part for part in backbone.children() if all(part is not one for one in known)]
    embeddings, adapters = backbone.gemma.embed_tokens, list(adapters_of(backbone))
    known_adapters = {id(one) for one in adapters}
    blocks = [backbone.gemma.layers, backbone.gemma.norm]
    matrices = [p for part in blocks for p in part.parameters() if id(p) not in known_adapters]
    return [
        *rows,
        _part("SigLIP", [backbone.vision], paper=400e6, note="fixed by its checkpoint"),
        _part("projector", [backbone.projector]),
        _part("Gemma without token embeddings", matrices, paper=2e9),
        *([_part("Gemma's adapters", adapters, note="of `backbone.lora_rank`, not in the paper")] if adapters else []),
        _part("token embeddings", [embeddings], note="not used by any loss"),
        _part("queries, subtasks, state, views, latent head", [*extras, *_own(backbone)]),
    ]


def _feature_note(model: Vita) -> str:
    head = model.visual_decoder.features_out
    if head is None:
        return ""
    return f"{_millions(sum(one.numel() for one in head.parameters()))} of them predict features, only in warmup"


def _own(module: nn.Module) -> Sequence[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _part(
    name: str, members: Sequence[nn.Module | nn.Parameter], *, paper: float | None = None, note: str = ""
) -> Part:
    found = [p for member in members for p in (member.parameters() if isinstance(member, nn.Module) else [member])]
    trained = sum(p.numel() for p in found if p.requires_grad)
    return Part(name=name, count=sum(p.numel() for p in found), trained=trained, paper=paper, note=note)


def as_json(table: ParameterTable) -> dict[str, object]:
    """Give a table as JSON values."""

    def row(part: Part) -> dict[str, object]:
        return {**asdict(part), "difference": part.difference}

    return {
        "recipe": table.recipe,
        "stage": str(table.stage),
        "parts": [row(part) for part in table.parts],
        "trained": row(table.trained),
    }


def as_text(table: ParameterTable) -> str:
    """Format a table as text."""
    titles: tuple[str, ...] = ("part", "parameters", "trained", "paper", "difference", "")
    rows = [titles, *(_cells(part) for part in (*table.parts, table.trained))]
    lines = [f"{table.recipe}: stage {table.stage}, counted on the meta device", *text_table(rows, "lrrrrl")]
    return "\n".join(lines)


def _cells(part: Part) -> tuple[str, ...]:
    difference = "" if part.difference is None else f"{part.difference:+.2%}"
    return (part.name, _millions(part.count), _millions(part.trained), _millions(part.paper), difference, part.note)


def _millions(count: float | None) -> str:
    return "" if count is None else f"{count / _MILLION:,.3f}M"
