"""What an answer runs can be captured as CUDA graphs: one graph a part, and nothing that waits for the host."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vita_data.slots import STATE_DIM
from vita_model.network.configs import ActionContext, VitaConfig
from vita_model.network.reasoning import ReasoningConfig, VisualReasoning
from vita_model.network.vita import Vita
from vita_model.network.weights.tokenizer import Tokens
from vita_model.policy.policy import CONTROL
from vita_model.training.parallel import compile_whole

HORIZON = 12


def asked(model: Vita) -> tuple[Tensor, Tensor, Tokens, Tensor, Tensor]:
    assert model.backbone is not None
    images = torch.randint(256, (1, 2, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tokens = model.backbone.tokens(["lift it"], torch.device("cpu"))
    state_mask = torch.ones(1, STATE_DIM, dtype=torch.bool)
    return images, torch.tensor([[True, False]]), tokens, torch.linspace(-1, 1, STATE_DIM)[None], state_mask


def answer(
    model: Vita, images: Tensor, image_mask: Tensor, tokens: Tokens, state: Tensor, state_mask: Tensor
) -> tuple[Tensor, Tensor]:
    assert model.backbone is not None
    reasoning = model.backbone(images, image_mask, tokens, state, state_mask)
    latents = model.stream(reasoning, image_mask.any(dim=1)).actions
    context = reasoning.context
    shown = {"context": context.hidden, "context_mask": context.mask} if model.action_decoder.context_in else {}
    actions = model.action_decoder(latents, num_steps=HORIZON, **shown).actions
    return actions, reasoning.subtasks.indices


@pytest.fixture(
    params=[
        (VisualReasoning.INTERNAL, ActionContext.NONE),
        (VisualReasoning.EXPLICIT, ActionContext.STATES),
        (VisualReasoning.INTERNAL, ActionContext.CORRECTION),
    ]
)
def model(config: VitaConfig, request: pytest.FixtureRequest) -> Vita:
    torch.manual_seed(0)
    visual, context = request.param
    decoder = replace(config.action_decoder, context=context)
    config = replace(config, cot=ReasoningConfig(visual=visual), action_decoder=decoder)
    return Vita(config, CONTROL).eval().requires_grad_(False)


def test_an_answer_is_one_graph(model: Vita) -> None:
    torch._dynamo.reset()
    with torch.inference_mode():
        plain = answer(model, *asked(model))
        whole = torch.compile(answer, backend="eager", fullgraph=True, dynamic=False)
        assert all(torch.equal(one, other) for one, other in zip(plain, whole(model, *asked(model)), strict=True))


class HostTensors(TorchDispatchMode):
    """Notes every operation that touches a tensor of the host's memory."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors):
            self.found.append(str(operation))
        return out


def test_an_answer_takes_nothing_from_the_host(model: Vita, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without values stands for the GPU: what asks for one of them, or lies elsewhere, is found."""
    images, image_mask, tokens, *state = asked(model)
    inputs = (images, image_mask, Tokens(ids=tokens.ids.to("meta"), mask=tokens.mask.to("meta")), *state)
    inputs = tuple(part.to("meta") if isinstance(part, Tensor) else part for part in inputs)
    model.to("meta")
    monkeypatch.setattr(torch, "autocast", lambda *given, **options: nullcontext())
    with torch.inference_mode(), HostTensors() as seen:
        actions, _ = answer(model, *inputs)  # type: ignore[arg-type]
        torch.arange(3)  # is noticed
    assert actions.device.type == "meta"
    assert seen.found == ["aten.arange.default"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
def test_compiled_parts_answer_alike(model: Vita) -> None:
    assert model.backbone is not None
    with torch.inference_mode():
        plain = answer(model, *asked(model))
        compile_whole([model.backbone, model.action_decoder], torch.device("cpu"))
        for _ in range(2):
            compiled = answer(model, *asked(model))
            assert torch.allclose(compiled[0], plain[0], atol=1e-4)
            assert torch.equal(compiled[1], plain[1])
