"""A trained model as a policy: from images, instruction and state to a chunk of canonical actions in m and rad.

It is loaded from a run, one of its checkpoints, or an export. These also contain the statistics and simulator
constants, so that actions are scaled back as in training. The visual decoder and DINOv2 are loaded only for predicting
frames.
Letters: B observations, V views, H steps, F predicted frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from vita_data.action_convention import CANONICAL, Convention
from vita_data.config.from_json import from_json
from vita_data.errors import RequestError, VitaDataError
from vita_data.instruction_text import normalize_text
from vita_data.loader.normalize import action_scaling, scaling_digest, state_scaling
from vita_data.resize import to_square
from vita_data.slots import ARM_DIM, GRIPPERS, LEFT_ARM, NUM_ACTION_DIMS, RIGHT_ARM, STATE_DIM, batch_columns
from vita_data.types import IMAGE_SIZE, Batch, Bool, CameraRole, Float32, Image, Json, Modality, ResizeMode
from vita_model.devices import require_device
from vita_model.network.backbone import SUBTASKS
from vita_model.network.configs import Component, VitaConfig
from vita_model.network.layers import byte_images
from vita_model.network.prediction import Draws, Prediction
from vita_model.network.vita import Vita
from vita_model.policy.joints import joint_columns
from vita_model.policy.observations import MAX_MEASURED, Observation, are_measured, read_observation, require_known_keys
from vita_model.training.checkpoint.components import load_components
from vita_model.training.checkpoint.fits import require_fitting
from vita_model.training.checkpoint.run_folder import find_policy
from vita_model.training.checkpoint.schema import check_policy
from vita_model.training.checkpoint.state import STATE, Progress, weights_digest
from vita_model.training.parallel import begin_answer, compile_whole
from vita_model.training.recipes.recipe import Precision

CONTROL = (Component.CODEBOOK, Component.ACTION_DECODER, Component.BACKBONE)
"""Components that are needed to predict actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """Options of a policy."""

    device: str = "cpu"
    precision: Precision = Precision.FP32
    compile: bool = False
    """Compile each part for one batch size, on a GPU as a CUDA graph; the first inference takes minutes."""
    imagine: bool = False
    """Also predict future frames."""
    resize: ResizeMode | None = None
    """How non-square images are made square; None: as `vita-data build` did for their source."""

    def __post_init__(self) -> None:
        """Refuse a device that does not exist; raises RequestError."""
        require_device(self, "device")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """Output of the policy."""

    source: str
    actions: Float32
    """[H, 14] canonical actions of left and right arm, one per native step: m, rad, gripper 0 closed to 1 open; [H, 28]
    with joint targets (rad) of left and right arm after them."""
    action_mask: Bool
    """[14] or [28] columns that the source has."""
    subtasks: tuple[str, ...]
    """The predicted subtasks, up to the first end."""
    codes: tuple[int, ...] = ()
    """Codes of the latent tokens; empty if the latents are continuous."""
    frames: Image | None = None
    """uint8 [F, s, s, 3] predicted frames of the first view, `Signature.frame_interval_s` apart."""

    @property
    def right(self) -> Float32:
        """The right arm's actions [H, 7]; a single arm is the right one."""
        return self.actions[:, RIGHT_ARM]

    @property
    def hands(self) -> Float32:
        """The canonical actions of left and right arm [H, 14]."""
        return self.actions[:, :NUM_ACTION_DIMS]

    @property
    def joints(self) -> Float32 | None:
        """The joint targets [H, n] of a robot of which only joints are known (`joint_columns`); None of others."""
        order = joint_columns(self.action_mask)
        return self.actions[:, order] if len(order) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Inputs and outputs of a policy."""

    views: tuple[CameraRole, ...]
    horizon: int
    futures: int
    sources: tuple[str, ...]
    frame_interval_s: float = 1.0
    """Time between predicted frames."""
    step: int
    """Number of training steps."""
    conventions: Mapping[str, Convention] = field(default_factory=dict)
    resizes: Mapping[str, ResizeMode] = field(default_factory=dict)
    """How each source's images were made square; the default is plain resizing."""
    digest: str = ""
    """Digest of the weights that predict actions."""
    num_commands: int | None = ARM_DIM
    """Number of values of a canonical command; None if it depends on the source."""


class VitaPolicy:
    """Predicts actions; deterministic; call it from one thread at a time."""

    def __init__(self, model: Vita, progress: Progress, options: PolicyOptions, *, digest: str = "") -> None:
        """Wrap a model with loaded weights, identified by `digest`; usually `from_pretrained` is used instead."""
        self.model, self.options = model, options
        self._statistics: Mapping[str, Json] = dict(progress.statistics)  # type: ignore[arg-type]
        self.signature = _signature(progress, model, digest)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return torch.device(self.options.device)

    @classmethod
    def from_pretrained(cls, folder: Path | str, options: PolicyOptions | None = None) -> Self:
        """Load a run's newest checkpoint, one of its checkpoints, or an exported policy.

        On a GPU: `from_pretrained("runs/finetune", PolicyOptions(device="cuda"))`.

        Raises:
            RequestError: the folder is no path, no checkpoint was found, or it has no backbone (warmup).
            VitaDataError: the checkpoint is damaged.
        """
        if not isinstance(folder, str | Path):
            raise RequestError(f"from_pretrained: expected the path of a run or an exported policy, got {folder!r}")
        options = options or PolicyOptions()
        if not isinstance(options, PolicyOptions):
            raise RequestError(f"from_pretrained: expected PolicyOptions as options, got {options!r}")
        checkpoint, progress = find_policy(Path(folder))
        config = _config(checkpoint, progress)
        wanted = (*CONTROL, Component.VISUAL_DECODER) if options.imagine else CONTROL
        require_fitting(checkpoint, config, wanted)
        model = Vita(config, wanted)
        if options.imagine:
            model.features.load_pretrained()
            model.features.check_same(progress.features, str(folder))
        missing = set(wanted) - load_components(checkpoint, model)
        if missing:
            raise RequestError(
                f"{checkpoint} lacks {', '.join(sorted(missing))}; export it with --imagine, or use a run folder"
            )
        _prepare(model, wanted, options)
        return cls(model, progress, options, digest=weights_digest(checkpoint, CONTROL))

    def __repr__(self) -> str:
        spec, options = self.signature, self.options
        weights = sum(one.numel() for one in self.model.parameters()) / 1e6
        size = f"{weights:.3g} M weights, {options.precision} on {options.device}"
        predicted = f"{spec.horizon} actions" + (f" and {spec.futures} frames" if options.imagine else "")
        return (
            f"VitaPolicy({size}, {spec.step} steps on {', '.join(spec.sources)}: "
            f"{', '.join(spec.views)} and instruction -> {predicted})"
        )

    def act(self, observation: Mapping[str, Any], *, convention: str = CANONICAL) -> Float32:
        """Predict commands [H, 7] from a robot's plain dict, one per native step; with two arms [H, 14], left first.

        For a robot of which only joints are known, they are the joint targets of `Decision.joints`.

        Args:
            observation: `primary` (uint8 [h, w, 3] RGB), `instruction`, further cameras by role, and the state if it is
                measured; all keys are listed in `vita_model.policy.observations`.
            convention: `canonical` (m, rad, gripper 1 = open), or a source whose raw commands are wanted.

        Raises:
            RequestError: a key is unknown, a value does not fit, or the checkpoint does not have the convention.
        """
        require_known_keys(observation)
        default_source = convention if convention in self.signature.sources else None
        read = read_observation(observation, default_source=default_source)
        decision = self.decide([read])[0]
        if convention == CANONICAL and decision.joints is None and decision.action_mask[LEFT_ARM].any():
            return decision.hands
        return self.commands(decision, convention, state=read.state)

    def predict(
        self,
        images: Mapping[CameraRole, Image],
        instruction: str,
        state: Float32 | None = None,
        *,
        source: str | None = None,
    ) -> Decision:
        """Predict a chunk of actions for one observation; raises as `decide`."""
        return self.decide([Observation(images=images, instruction=instruction, state=state, source=source)])[0]

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Predict chunks of actions for several observations at once.

        Raises:
            RequestError: an observation is invalid; the message says why.
        """
        if not observations:
            return []
        return self.decide_batch(self._batch(observations, [self._source(one) for one in observations]))

    @torch.inference_mode()
    def decide_batch(self, batch: Batch) -> list[Decision]:
        """Predict chunks of actions for a paired batch of the loader."""
        uses_bf16 = self.options.precision is Precision.BF16
        if self.options.compile:
            begin_answer(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=uses_bf16):
            prediction = self.model.reason(batch, Draws(), with_frames=self.options.imagine)
        return [self._decision(prediction, row, source) for row, source in enumerate(batch.source)]

    def warm_up(self) -> None:
        """Run inference on blank observations, so that compilation happens before the first real request."""
        spec = self.signature
        blank = dict.fromkeys(spec.views, np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8))
        # CUDA graphs are recorded in the second inference and replayed from the third on.
        for _ in range(3 if self.options.compile else 1):
            self.decide([Observation(images=blank, instruction="wait", source=spec.sources[0])])

    def scales_as(self, statistics: Json, source: str) -> bool:
        """Tell whether statistics scale a source's actions and states in the same way as the checkpoint's."""
        given: Any = statistics
        return scaling_digest(given, source) == scaling_digest(self._statistics, source)

    def unscaled(self, actions: Tensor, source: str) -> Float32:
        """Convert a batch's normalized actions [..., A] to m and rad."""
        scaling = action_scaling(self._statistics, source, joints=self.model.config.joints)
        return scaling.unnormalize(actions.float().cpu().numpy())

    def commands(self, decision: Decision, convention: str, *, state: Float32 | None = None) -> Float32:
        """Convert a decision to commands [H, 7] in an action convention; of joints, to `Decision.joints`.

        Args:
            decision: output of `predict`.
            convention: `canonical`, or a source whose constants the checkpoint has.
            state: [64] state of the observation, for conventions that depend on the hand's orientation.

        Raises:
            RequestError: the checkpoint does not have the convention, or the convention needs the state.
        """
        if convention == CANONICAL:
            return decision.right if decision.joints is None else decision.joints
        known = self.signature.conventions
        if convention not in known:
            raise RequestError(
                f"unknown convention {convention!r}; this checkpoint has: {', '.join((CANONICAL, *known))}"
            )
        return known[convention].commands(decision.right, state)

    def _source(self, observation: Observation) -> str:
        known = self.signature.sources
        source = observation.source or (known[0] if len(known) == 1 else None)
        if source not in known:
            asked = "a source is required" if source is None else f"unknown source {source!r}"
            raise RequestError(f"{asked}; this checkpoint has statistics for: {', '.join(known)}")
        return source

    def _batch(self, observations: Sequence[Observation], sources: Sequence[str]) -> Batch:
        spec, size = self.signature, len(observations)
        images = np.zeros((size, len(spec.views), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        image_mask = np.zeros((size, len(spec.views)), bool)
        state, state_mask = np.zeros((size, STATE_DIM), np.float32), np.zeros((size, STATE_DIM), bool)
        for row, (one, source) in enumerate(zip(observations, sources, strict=True)):
            resize = self.options.resize or spec.resizes.get(source, ResizeMode.PLAIN)
            for place, view in enumerate(spec.views):
                if view in one.images:
                    images[row, place] = _square(one.images[view], view, resize)
                    image_mask[row, place] = True
            if unknown := [str(view) for view in one.images if view not in list(CameraRole)]:
                raise RequestError(f"unknown camera {unknown[0]!r}; this checkpoint uses: {', '.join(spec.views)}")
            if not image_mask[row, 0]:
                found = ", ".join(one.images) or "none"
                raise RequestError(f"an observation must have the {spec.views[0]} image; found {found}")
            if one.state is not None:
                state[row], state_mask[row] = self._state(one.state, one.state_mask, source)
        futures = (size, spec.futures if self.options.imagine else 0)
        tensors = {
            "images": images, "image_mask": image_mask, "state": state, "state_mask": state_mask,
            "future": np.zeros((*futures, 1, 1, 3), np.uint8), "future_mask": np.zeros(futures, bool),
            "action": np.zeros((size, spec.horizon, self.model.config.num_action_dims), np.float32),
            "action_mask": np.ones((size, spec.horizon, self.model.config.num_action_dims), bool),
        }  # fmt: skip
        return Batch(
            modality=Modality.PAIRED, source=list(sources), key=[""] * size,
            instruction=[normalize_text(one.instruction) for one in observations],
            **{name: torch.from_numpy(array).to(self.device, non_blocking=True) for name, array in tensors.items()},
        )  # fmt: skip

    def _state(self, state: Float32, mask: Bool | None, source: str) -> tuple[Float32, Bool]:
        values = np.asarray(state, np.float32)
        real = _has(self._statistics, source, "state") if mask is None else np.asarray(mask, bool)
        if values.shape != (STATE_DIM,) or real.shape != (STATE_DIM,) or not are_measured(values[real]):
            raise RequestError(
                f"a state must be {STATE_DIM} finite numbers up to {MAX_MEASURED:,.0f}, and its mask of the same "
                f"shape; found {values.shape}"
            )
        scaling = state_scaling(self._statistics, source)
        real = real & scaling.known
        return scaling.normalize(values, real), real

    def _decision(self, prediction: Prediction, row: int, source: str) -> Decision:
        if prediction.actions is None or prediction.reasoning is None:
            raise TypeError("expected actions for a paired batch, got none")
        actions = self.unscaled(prediction.actions.predicted[row], source)
        real = _action_mask(self._statistics, source, joints=self.model.config.joints)
        actions[:, GRIPPERS] = actions[:, GRIPPERS].clip(0, 1)
        actions[:, ~real] = 0
        chosen = prediction.reasoning.subtasks
        indices = chosen.indices[row][chosen.mask[row]].tolist()
        frames = None if prediction.frames is None else byte_images(prediction.frames.predicted[row])
        return Decision(
            source=source, actions=actions, action_mask=real, frames=frames,
            codes=_codes(prediction, row),
            subtasks=tuple(SUBTASKS[index] for index in indices if index != len(SUBTASKS) - 1),
        )  # fmt: skip


def _codes(prediction: Prediction, row: int) -> tuple[int, ...]:
    """Give the codes of a sample's latent tokens; those of the actions if they are separate."""
    taken = prediction.quantized[-1].indices if prediction.quantized else None
    return () if taken is None else tuple(taken[row].tolist())


def _config(checkpoint: Path, progress: Progress) -> VitaConfig:
    """Read the model's config, after checking all that a policy reads of a state.json."""
    model: Any = progress.recipe.get("model", {})
    try:
        config = from_json(VitaConfig, model)
        max_steps = config.action_decoder.max_steps * config.action_decoder.num_segments
        check_policy(progress.sampler, progress.statistics, progress.conventions, max_steps=max_steps)
    except (VitaDataError, ValueError, TypeError) as fault:
        raise VitaDataError(f"{checkpoint / STATE}: {fault}; this checkpoint cannot be used as a policy") from fault
    return config


def _signature(progress: Progress, model: Vita, digest: str) -> Signature:
    sampler: Any = progress.sampler
    windows = sampler["fields"]["windows"]
    if windows.get("chunk_s") is not None:
        raise RequestError(
            f"expected a run whose chunks are native steps, got chunks that cover {windows['chunk_s']:g} s at any "
            "rate; fine-tune the run first"
        )
    conventions: Any = progress.conventions
    resizes: Any = progress.resizes
    statistics: Any = progress.statistics
    acting = [source for source, table in statistics.items() if "action" in table["source"][source]]
    masks = [_action_mask(statistics, source, joints=model.config.joints) for source in acting]
    sizes = {len(joint_columns(mask)) or ARM_DIM for mask in masks}
    return Signature(
        views=tuple(CameraRole(view) for view in windows["views"]), horizon=windows["horizon"],
        futures=model.config.backbone.num_latents // model.config.visual_encoder.num_latents,
        sources=tuple(sorted(progress.statistics)), step=progress.step, digest=digest,
        frame_interval_s=windows.get("frame_interval_s", 1.0),
        conventions={source: Convention.from_json(values) for source, values in conventions.items()},
        resizes={source: ResizeMode(name) for source, name in resizes.items()},
        num_commands=sizes.pop() if len(sizes) == 1 else None,
    )  # fmt: skip


def _prepare(model: Vita, wanted: Sequence[Component], options: PolicyOptions) -> None:
    model.requires_grad_(requires_grad=False).eval()
    device = torch.device(options.device)
    parts = [model.component(name) for name in wanted] + ([model.features] if options.imagine else [])
    for part in parts:
        part.to(device)
        if options.precision is Precision.BF16:
            narrow(part)
    if options.compile:
        compile_whole([part for part in parts if part not in (model.codebook, model.features)], device)


def narrow(part: nn.Module) -> None:
    """Store matrices in bfloat16, which halves memory traffic; norms and codes stay in float32."""
    for module in part.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)


def _square(pixels: Image, view: CameraRole, resize: ResizeMode) -> Image:
    image = np.asarray(pixels)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise RequestError(f"image {view} must be uint8 [h, w, 3]; found {image.dtype} {list(image.shape)}")
    return to_square(np.ascontiguousarray(image), resize)


def _action_mask(statistics: Mapping[str, Json], source: str, *, joints: bool) -> Bool:
    """Tell which columns [A] of an action a source has."""
    real: Bool = _has(statistics, source, "action")[np.array(batch_columns(joints=joints))]
    return real


def _has(statistics: Mapping[str, Json], source: str, vector: str) -> Bool:
    """Tell which columns of a vector a source has."""
    table: Any = statistics[source]
    part = table["source"][source].get(vector)
    if part is None:
        raise VitaDataError(f"source {source}: expected statistics of its {vector}, got none")
    return np.array([value is not None for value in part["mean"]])
