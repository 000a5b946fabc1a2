"""What a policy's delay costs: success and idle time by latency, standing still or running on meanwhile.

A repeated command measures only what is missing: complete rows are in `latency.json`, the episodes of an interrupted
command in a journal.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vita_data.command.progress import SILENT, Progress
from vita_data.command.tables import text_table
from vita_data.config.checks import require
from vita_data.config.from_json import from_json
from vita_data.errors import RequestError
from vita_model.policy.chunks import Execution
from vita_model.policy.commands import InConvention
from vita_model.policy.interfaces import Policy
from vita_model.sims.results.delays import Delay, idle_percent
from vita_model.sims.results.journal import Journal, Place, success_counter
from vita_model.sims.results.scores import EpisodeResult, SuccessRate, ends_of, success_rate, write_json
from vita_model.sims.scripted.evaluate import EvaluateRequest
from vita_model.sims.scripted.players import CONVENTION, Player, ScriptedSimulation, ScriptedWorkers, run_players
from vita_model.sims.scripted.task import HZ, ScriptedTask, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRequest:
    """What to measure; the delays of `evaluation` are replaced by each of the others."""

    evaluation: EvaluateRequest
    latencies_ms: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse an empty list; raises RequestError."""
        require(self, "latencies_ms", fits=bool(self.latencies_ms), wanted="at least one latency")

    @property
    def place(self) -> Place:
        """Where the rows are written."""
        remedy = "run the command again to continue"
        return Place(folder=self.evaluation.out, name="latency", resume=True, remedy=remedy)

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        return self.evaluation.spec

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes in each row."""
        return self.evaluation.seeds

    def rows(self) -> dict[str, Delay]:
        """List the rows by name: both executions at each latency."""
        delays = [
            Delay(latency_ms=latency_ms, execution=execution)
            for latency_ms in self.latencies_ms
            for execution in Execution
        ]
        return {f"{delay.execution}-{delay.latency_ms}ms": delay for delay in delays}

    def players(self, policy: Policy, task: ScriptedTask) -> Mapping[str, Player]:
        """Let the policy act in each row."""
        evaluation, simulation = self.evaluation, ScriptedSimulation(task, policy.info)
        return {
            name: Player(
                simulation=simulation, policy=policy, loop=evaluation.limits(delay), recorder=evaluation.videos
            )
            for name, delay in self.rows().items()
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """The result at one latency."""

    latency_ms: int
    execution: Execution
    num_successes: int
    num_episodes: int
    num_steps: int
    num_idle: int
    """Steps in which the robot stood still for lack of an answer."""
    num_steps_to_success: float
    """Mean over the successful episodes; 0 without any."""

    @property
    def idle_percent(self) -> float:
        """Share of the steps in which the robot stood still."""
        return idle_percent([self])


def measure_latency(
    request: LatencyRequest,
    policy: Policy,
    task: ScriptedTask,
    report: Callable[[str], None],
    progress: Progress = SILENT,
    workers: ScriptedWorkers | None = None,
) -> list[LatencyRow]:
    """Run the policy on the same episodes at each latency, and write `latency.json`.

    `workers` share the episodes of all latencies; None: they run in this process.

    Raises:
        RequestError: the folder has rows of other settings, or the policy uses another convention.
        VitaDataError: the policy's answer is not a valid chunk.
    """
    checked, place, rows = InConvention(policy, CONVENTION), request.place, request.rows()
    settings = _settings(request.evaluation, policy)
    found = _stored(place.result, settings)
    missing = [name for name, delay in rows.items() if _key(delay) not in found]
    if missing:
        ran: dict[str, Sequence[EpisodeResult]] = {}
        progress.start(request.evaluation.num_episodes * len(missing))
        with Journal(place, settings, report, progress, success_counter(by_group=True)) as journal:
            for name, episodes in run_players(missing, request, checked, task, journal, workers):
                found[_key(rows[name])], ran[name] = _row(rows[name], episodes), episodes
                report(f"{name}: {success_rate(episodes)}")
            write_json(place.result, {**settings, "rows": [asdict(one) for one in found.values()]})
            if (videos := request.evaluation.videos) is not None:
                title = f"{request.evaluation.benchmark} {request.spec.name}"
                report(f"films: {videos.write_page(title, ends_of(ran))}")
    return [found[_key(delay)] for delay in rows.values()]


def latency_table(rows: Sequence[LatencyRow]) -> list[str]:
    """Format the rows, both executions of a latency below each other."""
    head = ("latency", "execution", "success", "idle steps", "steps to success", "time to success")
    lines = [
        (
            f"{row.latency_ms} ms", str(row.execution),
            str(SuccessRate(num_successes=row.num_successes, num_episodes=row.num_episodes)),
            f"{row.idle_percent:.1f} %", f"{row.num_steps_to_success:.1f}", f"{row.num_steps_to_success / HZ:.2f} s",
        )
        for row in rows
    ]  # fmt: skip
    return text_table([head, *lines], "rllrrr")


def _row(delay: Delay, episodes: Sequence[EpisodeResult]) -> LatencyRow:
    steps = [episode.num_steps for episode in episodes if episode.success]
    return LatencyRow(
        latency_ms=delay.latency_ms,
        execution=delay.execution,
        num_successes=len(steps),
        num_episodes=len(episodes),
        num_steps=sum(episode.num_steps for episode in episodes),
        num_idle=sum(episode.num_idle for episode in episodes),
        num_steps_to_success=sum(steps) / len(steps) if steps else 0.0,
    )


def _key(delay: Delay) -> tuple[int, Execution]:
    return delay.latency_ms, delay.execution


def _settings(request: EvaluateRequest, policy: Policy) -> dict[str, object]:
    """Describe what all rows share, as JSON values."""
    return {
        "benchmark": request.benchmark,
        "task": request.spec.name,
        "policy": policy.info.as_json(),
        "hz": HZ,
        "num_episodes": request.num_episodes,
        "seed": request.seed,
        "max_steps": request.loop.max_steps,
        "replan_steps": request.replan_steps,
        "blend_steps": request.loop.timing.blend_steps,
    }


def _stored(path: Path, settings: dict[str, object]) -> dict[tuple[int, Execution], LatencyRow]:
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text())
    rows = stored.pop("rows")
    if stored != json.loads(json.dumps(settings)):
        raise RequestError(f"{path} was measured with other settings; choose another --out, or remove it")
    found = [from_json(LatencyRow, row) for row in rows]
    return {(row.latency_ms, row.execution): row for row in found}
