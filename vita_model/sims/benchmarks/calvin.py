"""CALVIN ABC-D: 1000 chains of five instructions in environment D. Users provide the clones and the dataset.

Source: mees/calvin, evaluate_policy.py: 360 steps per instruction, the policy is reset before each, a chain ends at its
first failure, and the task oracle decides on success.
"""

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import require_whole
from vita_data.types import CameraRole
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Observation, Policy, single_arm_state
from vita_model.sims.benchmarks.offline_import import load, package_folder, quiet, require_package, require_path
from vita_model.sims.results.journal import Journal, Place, identity
from vita_model.sims.results.rollouts import Chunked
from vita_model.sims.results.scores import SuccessRate, rate_json, write_json

CONVENTION = "calvin"
TABLE = 1
NUM_CHAINS = 1000
NUM_INSTRUCTIONS = 5
MAX_STEPS = 360
"""Maximum steps per instruction."""
WIDTH_OPEN_M = 0.08
_NAME = "CALVIN"
_INSTALL = "clone mees/calvin with calvin_env and put calvin_models and calvin_env on PYTHONPATH"
_ORACLE = "callbacks/rollout/tasks/new_playtable_tasks.yaml"
_SENTENCES = "annotations/new_playtable_validation.yaml"

Chain = tuple[Any, Sequence[str]]
"""Initial condition and the names of the tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalvinRequest:
    """What to evaluate. The defaults are the protocol; deviations are recorded in the result."""

    out: Path
    dataset: Path
    """Folder of the dataset (`task_ABC_D`), whose `validation/.hydra` describes environment D."""
    replan_steps: int
    num_chains: int = NUM_CHAINS
    max_steps: int = MAX_STEPS

    resume: bool = False
    """Continue an interrupted evaluation."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "num_chains", most=NUM_CHAINS)
        require_whole(self, "replan_steps", "max_steps")

    @property
    def place(self) -> Place:
        """Where the result is written."""
        return Place(folder=self.out, name="calvin", resume=self.resume)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalvinParts:
    """Objects from the user's installation."""

    environment: Any
    oracle: Any
    sentences: Mapping[str, Sequence[str]]
    """Sentences of each task; the first one is used."""
    place: Callable[[Any], tuple[Any, Any]]
    """Converts an initial condition to robot and scene observations."""
    chains: Sequence[Chain]


def run_chain(parts: CalvinParts, chain: Chain, policy: Chunked, max_steps: int) -> int:
    """Run one chain; returns the number of consecutive successful instructions."""
    condition, tasks = chain
    robot, scene = parts.place(condition)
    parts.environment.reset(robot_obs=robot, scene_obs=scene)
    for number, task in enumerate(tasks):
        if not _succeeds(parts, task, policy, max_steps):
            return number
    return len(tasks)


def chain_rates(lengths: Sequence[int]) -> dict[str, SuccessRate]:
    """Count the chains with at least 1, 2, ... successful instructions."""
    return {
        str(reached): SuccessRate(num_successes=sum(length >= reached for length in lengths), num_episodes=len(lengths))
        for reached in range(1, NUM_INSTRUCTIONS + 1)
    }


def observe(seen: Mapping[str, Any], sentence: str) -> Observation:
    """Convert CALVIN's observation: static and gripper camera, and the 15 numbers of the robot."""
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    robot = np.asarray(seen["robot_obs"], np.float64)
    return Observation(
        images={
            CameraRole.PRIMARY: np.ascontiguousarray(seen["rgb_obs"]["rgb_static"], np.uint8),
            CameraRole.WRIST_RIGHT: np.ascontiguousarray(seen["rgb_obs"]["rgb_gripper"], np.uint8),
        },
        instruction=sentence,
        state=single_arm_state(
            xyz_m=robot[:3],
            rotation=Rotation.from_euler("xyz", robot[3:6]).as_matrix(),
            gripper_open=robot[6] / WIDTH_OPEN_M,
            joints_rad=robot[7:14],
        ),
    )


def evaluate_calvin(
    request: CalvinRequest, policy: Policy, report: Callable[[str], None], progress: Progress = SILENT
) -> dict[str, object]:
    """Run the chains and write `calvin.json`.

    Returns:
        The content of the file.

    Raises:
        RequestError: CALVIN or its dataset is missing, the policy uses another convention, or an interrupted evaluation
            exists, but `resume` is False or the settings differ.
    """
    chunked = Chunked(InConvention(policy, CONVENTION), request.replan_steps)
    settings = {"max_steps": request.max_steps, "replan_steps": request.replan_steps}
    with quiet(_NAME):
        parts = _parts(request)
        progress.start(request.num_chains)
        with Journal(request.place, {**settings, "policy": identity(policy.info)}, report) as journal:

            def run(number: int) -> dict[str, object]:
                return {"length": run_chain(parts, parts.chains[number], chunked, request.max_steps)}

            lengths: list[Any] = []
            for row in journal.rows("chains", range(request.num_chains), run):
                lengths.append(row["length"])
                report(f"chain {len(lengths)}: {lengths[-1]} of {NUM_INSTRUCTIONS}, mean {np.mean(lengths):.3f}")
                progress.update(note=f"mean {np.mean(lengths):.2f} of {NUM_INSTRUCTIONS} instructions")
            result = {
                "benchmark": "calvin",
                "table": TABLE,
                "policy": policy.info.as_json(),
                "is_protocol": request.num_chains == NUM_CHAINS and request.max_steps == MAX_STEPS,
                "num_chains": request.num_chains,
                **settings,
                "average_number": float(np.mean(lengths)),
                "rates": {name: rate_json(rate) for name, rate in chain_rates(lengths).items()},
                "lengths": lengths,
            }
            write_json(request.place.result, result)
    return result


def _succeeds(parts: CalvinParts, task: str, policy: Chunked, max_steps: int) -> bool:
    environment, sentence = parts.environment, parts.sentences[task][0]
    policy.reset()
    seen, before = environment.get_obs(), environment.get_info()
    for _ in range(max_steps):
        command = policy.next(lambda seen=seen: observe(seen, sentence))  # type: ignore[misc]
        seen, _, _, after = environment.step(command)
        if parts.oracle.get_task_info_for_set(before, after, {task}):
            return True
    return False


def check_installation(dataset: Path) -> Path:
    """Check the packages, their configuration and the dataset; returns the folder of the configuration.

    Raises:
        RequestError: one of them is missing; the message says where it was expected.
    """
    agent = require_package("calvin_agent", benchmark=_NAME, remedy=_INSTALL)
    require_package("calvin_env", benchmark=_NAME, remedy=_INSTALL)
    require_path(
        dataset / "validation" / ".hydra" / "merged_config.yaml",
        benchmark=_NAME,
        what="description of environment D",
        remedy="set --dataset to the folder that contains training and validation",
    )
    configuration = agent.parent / "conf"
    for file in (_ORACLE, _SENTENCES):
        require_path(configuration / file, benchmark=_NAME, what="configuration", remedy=_INSTALL)
    return configuration


def _parts(request: CalvinRequest) -> CalvinParts:
    configuration = check_installation(request.dataset)
    _provide_pyhash()
    hydra, omegaconf, tables, sequences, tools = (
        load(name, benchmark=_NAME, remedy=_INSTALL)
        for name in (
            "hydra",
            "omegaconf",
            "calvin_env.envs.play_table_env",
            "calvin_agent.evaluation.multistep_sequences",
            "calvin_agent.evaluation.utils",
        )
    )
    vars(tables)["get_git_commit_hash"] = lambda path: "n/a"  # the real one fails outside a clone
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the protocol seeds the global generator
    return CalvinParts(
        environment=tables.get_env(request.dataset / "validation", show_gui=False),
        oracle=hydra.utils.instantiate(omegaconf.OmegaConf.load(configuration / _ORACLE)),
        sentences=omegaconf.OmegaConf.load(configuration / _SENTENCES),
        place=tools.get_env_state_for_initial_condition,
        chains=sequences.get_sequences(NUM_CHAINS),
    )


def _provide_pyhash() -> None:
    """Provide the one hash function that CALVIN needs if `pyhash`, which no longer builds, is not installed.

    Assumes: 32-bit FNV-1 of the text's UTF-8, as in its documentation; it seeds the positions of blocks.
    """
    if "pyhash" in sys.modules or package_folder("pyhash") is not None:
        return

    def fnv1_32() -> Callable[[str], int]:
        return fnv1

    module = ModuleType("pyhash")
    module.fnv1_32 = fnv1_32  # type: ignore[attr-defined]
    sys.modules["pyhash"] = module


def fnv1(text: str) -> int:
    """Compute the 32-bit FNV-1 hash of a text."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value * 0x01000193) % (1 << 32) ^ byte
    return value
