"""CALVIN ABC-D: 1000 chains of five instructions in environment D. Users provide the clones.

Source: mees/calvin, evaluate_policy.py: 360 steps per instruction, the policy is reset before each, a chain ends at its
first failure, and the task oracle decides on success.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import require_whole
from vita_model.policy.chunks import Chunked, Timing
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Policy
from vita_model.sims.benchmarks.calvin_installation import NAME, CalvinParts, Renderer, make_parts, scene_name, versions
from vita_model.sims.benchmarks.calvin_sequences import NUM_CHAINS, NUM_INSTRUCTIONS, Chain
from vita_model.sims.benchmarks.offline_import import quiet
from vita_model.sims.results.journal import Journal, Place, identity
from vita_model.sims.results.scores import SuccessRate, rate_json, write_json

CONVENTION = "calvin"
TABLE = 1
MAX_STEPS = 360
"""Maximum steps per instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalvinRequest:
    """What to evaluate. The defaults are the protocol; deviations are recorded in the result."""

    out: Path
    replan_steps: int
    dataset: Path | None = None
    """Folder of the dataset (`task_ABC_D`), whose `validation/.hydra` describes environment D; None: the clone's."""
    renderer: Renderer = Renderer.EGL
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

    @property
    def is_protocol(self) -> bool:
        """Whether this is the benchmark in full, in the dataset's scene and with its renderer."""
        is_complete = self.num_chains == NUM_CHAINS and self.max_steps == MAX_STEPS
        return is_complete and self.dataset is not None and self.renderer is Renderer.EGL


def run_chain(parts: CalvinParts, chain: Chain, policy: Chunked, max_steps: int) -> int:
    """Run one chain; returns the number of consecutive successful instructions."""
    condition, tasks = chain
    parts.table.reset(*parts.place(condition))
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


def evaluate_calvin(
    request: CalvinRequest, policy: Policy, report: Callable[[str], None], progress: Progress = SILENT
) -> dict[str, object]:
    """Run the chains and write `calvin.json`.

    Returns:
        The content of the file.

    Raises:
        RequestError: CALVIN or its dataset is missing or fails, the policy uses another convention, or an interrupted
            evaluation exists, but `resume` is False or the settings differ.
    """
    chunked = Chunked(InConvention(policy, CONVENTION), Timing(replan_steps=request.replan_steps))
    settings = {
        "max_steps": request.max_steps,
        "replan_steps": request.replan_steps,
        "renderer": str(request.renderer),
        "scene": scene_name(request.dataset),
        "versions": versions(),
    }
    with quiet(NAME) as loud, ExitStack() as stack:
        report = loud(report)
        parts = make_parts(request.dataset, request.renderer, report)
        stack.callback(parts.table.close)
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
                "is_protocol": request.is_protocol,
                "num_chains": request.num_chains,
                **settings,
                "average_number": float(np.mean(lengths)),
                "rates": {name: rate_json(rate) for name, rate in chain_rates(lengths).items()},
                "lengths": lengths,
            }
            write_json(request.place.result, result)
    return result


def _succeeds(parts: CalvinParts, task: str, policy: Chunked, max_steps: int) -> bool:
    table, sentence = parts.table, parts.sentences[task][0]
    policy.reset()
    before = table.info()
    for _ in range(max_steps):
        after = table.step(policy.next(lambda: table.observe(sentence)))
        if parts.oracle.get_task_info_for_set(before, after, {task}):
            return True
    return False
