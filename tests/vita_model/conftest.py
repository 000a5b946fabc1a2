"""Synthetic batches with the loader's face, and a tiny model: what the model and its loop are tested on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from vita_data.loader import PlanChange
from vita_data.types import Batch, CameraRole, Modality, Stage
from vita_model.network.configs import VitaConfig
from vita_model.network.vita import Vita
from vita_model.policy.interfaces import Observation, RobotState
from vita_model.training.recipes.presets import tiny
from vita_model.training.recipes.recipe import OptimizerConfig, Precision, Recipe

_CYCLE = {
    Stage.WARMUP: (Modality.VIDEO, Modality.ACTION),
    Stage.COTRAIN: (Modality.VIDEO, Modality.PAIRED),
    Stage.FINETUNE: (Modality.PAIRED,),
}
_FUTURES = {Stage.WARMUP: 1, Stage.COTRAIN: 4, Stage.FINETUNE: 0}


def build_batch(
    modality: Modality, *, size: int = 4, futures: int = 1, horizon: int = 12, views: int = 1, seed: int = 0
) -> Batch:
    """A batch as vita_data/README.md describes it: smooth images that drift, chunks of sines, the left arm masked."""
    modality = Modality(modality)
    generator = torch.Generator().manual_seed(seed)
    images = future = image_mask = future_mask = action = action_mask = state = state_mask = None
    if modality is not Modality.ACTION:
        frames = _moving_images(size, views, futures, generator)
        images, future = frames[:, :views], frames[:, views:]
        image_mask = torch.ones(size, views, dtype=torch.bool)
        future_mask = (
            torch.arange(futures) < torch.randint(1, futures + 1, (size, 1), generator=generator)
            if futures
            else torch.zeros(size, 0, dtype=torch.bool)
        )
        future[~future_mask] = 0
    if modality is not Modality.VIDEO:
        action_mask = torch.zeros(size, horizon, 14, dtype=torch.bool)
        action_mask[:, :, 7:] = True
        phase = torch.rand(size, 1, 14, generator=generator) * 6
        action = torch.sin(torch.arange(horizon)[None, :, None] / 3 + phase) * action_mask
    if modality is Modality.PAIRED:
        state_mask = torch.zeros(size, 64, dtype=torch.bool)
        state_mask[:, 24:34] = True
        state = torch.rand(size, 64, generator=generator) * state_mask
    return Batch(
        modality=modality,
        source=["toy_a" if i % 2 else "toy_b" for i in range(size)],
        key=[f"toy-{seed:04d}-{i}" for i in range(size)],
        instruction=[f"move block {i}" for i in range(size)],
        images=images,
        image_mask=image_mask,
        future=future,
        future_mask=future_mask,
        action=action,
        action_mask=action_mask,
        state=state,
        state_mask=state_mask,
    )


class SyntheticStream:
    """Batch k is a pure function of k; the state is k."""

    def __init__(self, stage: Stage, *, size: int = 4) -> None:
        self.stage, self.size, self.step, self.is_closed = stage, size, 0, False
        self.substituted: dict[str, int] = {}

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return tuple(dict.fromkeys(_CYCLE[self.stage]))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        cycle = _CYCLE[self.stage]
        batch = build_batch(cycle[self.step % len(cycle)], size=self.size, futures=_FUTURES[self.stage], seed=self.step)
        self.step += 1
        return batch

    def state_dict(self) -> dict[str, object]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, object], *, plan_change: PlanChange) -> None:
        self.plan_change = plan_change
        self.step = int(str(state["step"]))

    def close(self) -> None:
        self.is_closed = True


def _moving_images(size: int, views: int, futures: int, generator: torch.Generator) -> torch.Tensor:
    coarse = torch.rand(size, 3, 4, 4, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(256, 256), mode="bilinear")
    frames = [torch.roll(image, shifts=8 * k, dims=-1) for k in range(views + futures)]
    return (torch.stack(frames, dim=1) * 255).to(torch.uint8).permute(0, 1, 3, 4, 2).contiguous()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors here are small: more threads would only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_config() -> VitaConfig:
    """The tiny preset on even smaller images, so that a step takes a few milliseconds."""
    config = tiny()
    return replace(
        config,
        visual=replace(config.visual, input_size=56, position_size=56),
        visual_decoder=replace(config.visual_decoder, output_size=32),
        codebook=replace(config.codebook, num_codes=8),
        backbone=replace(config.backbone, image_size=56),
    )


@pytest.fixture
def config() -> VitaConfig:
    return small_config()


@pytest.fixture
def model(config: VitaConfig) -> Vita:
    """A model whose codebook is filled."""
    torch.manual_seed(0)
    vita = Vita(config)
    generator = torch.Generator().manual_seed(1)
    vita.codebook.train()
    encodings = torch.randn(config.codebook.num_codes, 1, config.codebook.width, generator=generator)
    vita.codebook(encodings, Modality.VIDEO, torch.ones(len(encodings), dtype=torch.bool))
    return vita.eval()


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    return build_batch


@pytest.fixture
def make_stream() -> Callable[..., SyntheticStream]:
    return SyntheticStream


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    """A recipe of any stage on the small model; keywords replace its fields."""

    def make(stage: Stage, **fields: object) -> Recipe:
        recipe = Recipe(
            name=f"test_{stage}",
            stage=stage,
            manifest="none.toml",
            num_steps=6,
            batch_size=4,
            model=small_config(),
            optimizer=OptimizerConfig(lr=1e-3, ramp_steps=2),
            precision=Precision.FP32,
            num_supervised_frames=2,
            eval_batches=0,
        )
        return replace(recipe, **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def observation() -> Observation:
    mask = np.zeros(64, bool)
    mask[24:34] = True
    images = {role: np.full((8, 6, 3), 7, np.uint8) for role in (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)}
    state = RobotState(values=np.arange(64, dtype=np.float32) * mask, mask=mask)
    return Observation(images=images, instruction="lift it", state=state)
