"""CALVIN ABC-D: 1000 chains of five instructions in environment D. Users provide the clones.

Source: mees/calvin, evaluate_policy.py: 360 steps per instruction, the policy is reset before each, a chain ends at its
first failure, and the task oracle decides on success.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import require_whole
from vita_data.types import Json
from vita_model.policy.chunks import Chunked, Timing
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Policy, restart
from vita_model.sims.benchmarks.calvin_installation import NAME, CalvinParts, Renderer, make_parts, scene_name, versions
from vita_model.sims.benchmarks.calvin_sequences import NUM_CHAINS, NUM_INSTRUCTIONS, Chain
from vita_model.sims.benchmarks.offline_import import quiet
from vita_model.sims.results.delays import NO_DELAY, Delay, idle_percent
from vita_model.sims.results.journal import Journal, Note, Place, identity
from vita_model.sims.results.rollouts import Strip, observer
from vita_model.sims.results.scores import SuccessRate, rate_json, write_json
from vita_model.sims.results.videos import Videos
from vita_model.sims.results.workers import Job, RunEpisode, Workers

CONVENTION = "calvin"
TABLE = 1
MAX_STEPS = 360
"""Maximum steps per instruction."""
HZ = 30
_GROUP = "chains"


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

    delay: Delay = NO_DELAY

    resume: bool = False
    """Continue an interrupted evaluation."""
    video: bool = False
    """Write a film of each chain; every step is then rendered."""

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "num_chains", most=NUM_CHAINS)
        require_whole(self, "replan_steps", "max_steps")

    @property
    def place(self) -> Place:
        """Where the result is written."""
        return Place(folder=self.out, name="calvin", resume=self.resume)

    @property
    def videos(self) -> Videos | None:
        """Where films are written, if at all."""
        return Videos(folder=self.out / "videos", hz=HZ) if self.video else None

    @property
    def is_protocol(self) -> bool:
        """Whether this is the benchmark in full, in the dataset's scene and with its renderer."""
        is_complete = self.num_chains == NUM_CHAINS and self.max_steps == MAX_STEPS
        is_same_world = self.dataset is not None and self.renderer is Renderer.EGL
        return is_complete and is_same_world and self.delay == NO_DELAY

    @property
    def timing(self) -> Timing:
        """When the policy is asked."""
        return Timing(
            replan_steps=self.replan_steps, execution=self.delay.execution, latency_steps=self.delay.steps(HZ)
        )


class CalvinChains:
    """Runs chains, one after the other; a context that frees the simulator."""

    def __init__(self, request: CalvinRequest, policy: Policy, report: Callable[[str], None]) -> None:
        """Build the environment; raises RequestError."""
        self._request, self._policy = request, policy
        self._parts = make_parts(request.dataset, request.renderer, report)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.table.close()

    def run(self, group: str, number: int) -> Json:
        """Run a chain; gives its row of the journal."""
        videos, parts = self._request.videos, self._parts
        restart(self._policy, f"{group} {number}")
        chunked = Chunked(self._policy, self._request.timing)
        strip = Strip() if videos else None
        result = run_chain(parts, parts.chains[number], chunked, self._request.max_steps, strip)
        if videos and strip:
            videos.write(group, number, strip.images, success=result.length == NUM_INSTRUCTIONS)
        return asdict(result)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalvinEpisodes:
    """Opens CALVIN and a policy in a worker."""

    request: CalvinRequest
    open_policy: Callable[[], Policy]

    @contextmanager
    def __call__(self) -> Iterator[RunEpisode]:
        """Give the function that runs a chain."""
        with quiet(NAME):
            policy = InConvention(self.open_policy(), CONVENTION)
            with CalvinChains(self.request, policy, lambda line: None) as chains:
                yield chains.run


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainResult:
    """How one chain ended."""

    length: int
    """Number of consecutive successful instructions."""
    num_steps: int
    num_idle: int
    """Steps in which the robot stood still because the policy had not answered."""


def run_chain(
    parts: CalvinParts, chain: Chain, policy: Chunked, max_steps: int, strip: Strip | None = None
) -> ChainResult:
    """Run one chain to its first failure."""
    condition, tasks = chain
    parts.table.reset(*parts.place(condition))
    length = num_steps = num_idle = 0
    for task in tasks:
        steps, success = _carry_out(parts, task, policy, max_steps, strip)
        length, num_steps, num_idle = length + success, num_steps + steps, num_idle + policy.num_idle
        if not success:
            break
    return ChainResult(length=length, num_steps=num_steps, num_idle=num_idle)


def chain_rates(lengths: Sequence[int]) -> dict[str, SuccessRate]:
    """Count the chains with at least 1, 2, ... successful instructions."""
    return {
        str(reached): SuccessRate(num_successes=sum(length >= reached for length in lengths), num_episodes=len(lengths))
        for reached in range(1, NUM_INSTRUCTIONS + 1)
    }


def evaluate_calvin(
    request: CalvinRequest,
    policy: Policy,
    report: Callable[[str], None],
    progress: Progress = SILENT,
    workers: Workers | None = None,
) -> dict[str, object]:
    """Run the chains and write `calvin.json`; `workers` share the chains, None: they run in this process.

    Returns:
        The content of the file.

    Raises:
        RequestError: CALVIN or its dataset is missing or fails, the policy uses another convention, or an interrupted
            evaluation exists, but `resume` is False or the settings differ.
    """
    checked = InConvention(policy, CONVENTION)
    settings = {
        "max_steps": request.max_steps,
        "replan_steps": request.replan_steps,
        **request.delay.settings(HZ),
        "renderer": str(request.renderer),
        "scene": scene_name(request.dataset),
        "versions": versions(),
    }
    with quiet(NAME) as loud, CalvinChains(request, checked, loud(report)) as chains:
        report = loud(report)
        progress.start(request.num_chains)
        recorded = {**settings, "policy": identity(policy.info)}
        with Journal(request.place, recorded, report, progress, _mean_note(report)) as journal:
            numbers = range(request.num_chains)
            if workers is not None:
                opener = CalvinEpisodes(request=request, open_policy=workers.open_policy)
                journal.fill([(_GROUP, number) for number in numbers], opener, workers.number)
            ended = [_result(row) for row in journal.rows(_GROUP, numbers, partial(chains.run, _GROUP))]
            lengths = [chain.length for chain in ended]
            result = {
                "benchmark": "calvin",
                "table": TABLE,
                "policy": policy.info.as_json(),
                "is_protocol": request.is_protocol,
                "num_chains": request.num_chains,
                **settings,
                "idle_percent": idle_percent(ended),
                "average_number": float(np.mean(lengths)),
                "rates": {name: rate_json(rate) for name, rate in chain_rates(lengths).items()},
                "lengths": lengths,
            }
            write_json(request.place.result, result)
            if request.videos:
                solved = {(_GROUP, number): length == NUM_INSTRUCTIONS for number, length in enumerate(lengths)}
                report(f"films: {request.videos.write_page('CALVIN', solved)}")
    return result


def _mean_note(report: Callable[[str], None]) -> Note:
    """Make a function that is told each row, reports it, and gives the mean so far."""
    lengths: list[int] = []

    def note(job: Job, row: Json) -> str:
        lengths.append(_result(row).length)
        mean = np.mean(lengths)
        report(f"chain {job[1] + 1}: {lengths[-1]} of {NUM_INSTRUCTIONS}, mean {mean:.3f}")
        return f"mean {mean:.2f} of {NUM_INSTRUCTIONS} instructions"

    return note


def _result(row: Json) -> ChainResult:
    return ChainResult(**row)  # type: ignore[arg-type]


def _carry_out(parts: CalvinParts, task: str, policy: Chunked, max_steps: int, strip: Strip | None) -> tuple[int, bool]:
    """Run one instruction; gives the number of its steps and whether it succeeded."""
    table, sentence = parts.table, parts.sentences[task][0]
    policy.reset()
    before = table.info()
    for step in range(1, max_steps + 1):
        after = table.step(policy.next(observer(lambda: table.observe(sentence), strip)))
        if parts.oracle.get_task_info_for_set(before, after, {task}):
            return step, True
    return max_steps, False
