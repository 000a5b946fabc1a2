"""What a policy's delay costs: success and idle time by latency, standing still or running on meanwhile.

Each row is written when it is measured, and a repeated command measures only the missing ones.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
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
from vita_model.sims.results.scores import EpisodeResult, SuccessRate, success_rate, write_json
from vita_model.sims.scripted.evaluate import CONVENTION, EvaluateRequest, ScriptedSimulation, run_episodes
from vita_model.sims.scripted.task import HZ, ScriptedTask

RESULT = "latency.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRequest:
    """What to measure; the delays of `evaluation` are replaced by each of the others."""

    evaluation: EvaluateRequest
    latencies_ms: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse an empty list; raises RequestError."""
        require(self, "latencies_ms", fits=bool(self.latencies_ms), wanted="at least one latency")

    @property
    def path(self) -> Path:
        """Where the rows are written."""
        return self.evaluation.out / RESULT

    def rows(self) -> list[EvaluateRequest]:
        """List the evaluations: both executions at each latency."""
        return [
            replace(self.evaluation, delay=Delay(latency_ms=latency_ms, execution=execution))
            for latency_ms in self.latencies_ms
            for execution in Execution
        ]


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
) -> list[LatencyRow]:
    """Run the policy on the same episodes at each latency, and write `latency.json` after each.

    Raises:
        RequestError: the folder has rows of other settings, or the policy uses another convention.
        VitaDataError: the policy's answer is not a valid chunk.
    """
    checked = InConvention(policy, CONVENTION)
    settings = _settings(request.evaluation, policy)
    found = _stored(request.path, settings)
    missing = [row for row in request.rows() if _key(row) not in found]
    progress.start(request.evaluation.num_episodes * len(missing))
    for row in missing:
        name = f"{row.delay.execution} {row.delay.latency_ms} ms"
        simulation = ScriptedSimulation(task, policy.info)
        episodes = run_episodes(simulation, checked, row, _nothing, name, progress)
        found[_key(row)] = _row(row, episodes)
        report(f"{name}: {success_rate(episodes)}")
        write_json(request.path, {**settings, "rows": [asdict(one) for one in found.values()]})
    return [found[_key(row)] for row in request.rows()]


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


def _row(request: EvaluateRequest, episodes: Sequence[EpisodeResult]) -> LatencyRow:
    steps = [episode.num_steps for episode in episodes if episode.success]
    return LatencyRow(
        latency_ms=request.delay.latency_ms,
        execution=request.delay.execution,
        num_successes=len(steps),
        num_episodes=len(episodes),
        num_steps=sum(episode.num_steps for episode in episodes),
        num_idle=sum(episode.num_idle for episode in episodes),
        num_steps_to_success=sum(steps) / len(steps) if steps else 0.0,
    )


def _key(request: EvaluateRequest) -> tuple[int, Execution]:
    return request.delay.latency_ms, request.delay.execution


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


def _nothing(line: str) -> None:
    """Ignore the line of an episode: a row is reported as a whole."""
