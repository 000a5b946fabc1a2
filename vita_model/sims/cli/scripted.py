"""The verbs `record`, `evaluate` and `latency` of `vita-eval tabletop` and `vita-eval robosuite`."""

import argparse
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vita_data.command.arguments import local_path, not_negative, positive
from vita_data.command.progress import Progress, add_quiet_flag
from vita_model.policy.interfaces import Policy
from vita_model.sims.cli.options import (
    add_policy,
    add_replan,
    add_resume,
    add_running,
    add_timing,
    delay_of,
    is_done,
    open_policy,
    results_folder,
    workers_of,
)
from vita_model.sims.robosuite.tasks import TASKS as ROBOSUITE_TASKS
from vita_model.sims.robosuite.tasks import RobosuiteTask
from vita_model.sims.scripted.evaluate import EvaluateRequest, evaluate_scripted
from vita_model.sims.scripted.latency import LatencyRequest, latency_table, measure_latency
from vita_model.sims.scripted.noise import CALM, DISTURBED
from vita_model.sims.scripted.players import CONVENTION, ScriptedWorkers
from vita_model.sims.scripted.record import RecordRequest, record
from vita_model.sims.scripted.task import ScriptedTask, TaskSpec
from vita_model.sims.tabletop.task import TASKS as TABLETOP_TASKS
from vita_model.sims.tabletop.task import TabletopTask

_NOISE = {"path": DISTURBED, "none": CALM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A simulator with scripted tasks."""

    name: str
    help: str
    tasks: Mapping[str, TaskSpec]
    build: Callable[[TaskSpec], ScriptedTask]


def _simulators() -> tuple[Simulator, ...]:
    return (
        Simulator(
            name="tabletop", help="record demonstrations or evaluate on a small table that needs no simulator",
            tasks=TABLETOP_TASKS, build=TabletopTask,
        ),
        Simulator(
            name="robosuite", help="record demonstrations or evaluate on Lift and Stack of robosuite 1.4.0",
            tasks=ROBOSUITE_TASKS, build=RobosuiteTask,
        ),
    )  # fmt: skip


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs."""
    for simulator in _simulators():
        parser = verbs.add_parser(simulator.name, help=simulator.help)
        inner = parser.add_subparsers(required=True, metavar="VERB")
        _add_record(inner.add_parser("record", help="record scripted demonstrations as LIBERO-format HDF5"), simulator)
        _add_evaluate(
            inner.add_parser("evaluate", help="evaluate closed-loop success on new initial states"), simulator
        )
        _add_latency(
            inner.add_parser(
                "latency", help="measure what a policy's delay costs, standing still and running on meanwhile"
            ),
            simulator,
        )


def _add_record(parser: argparse.ArgumentParser, simulator: Simulator) -> None:
    _add_task(parser, simulator)
    parser.add_argument(
        "--out", type=local_path, required=True, metavar="RAW", help="folder to write, for vita-data build --raw"
    )
    parser.add_argument(
        "--num-demos",
        type=positive,
        default=100,
        metavar="N",
        help="successful demonstrations to record (default: 100)",
    )
    parser.add_argument(
        "--noise", choices=sorted(_NOISE), default="path",
        help="disturb the expert's path, so that demonstrations include recoveries (default: path)",
    )  # fmt: skip
    add_quiet_flag(parser)
    parser.set_defaults(command=functools.partial(_record, simulator))


def _add_evaluate(parser: argparse.ArgumentParser, simulator: Simulator) -> None:
    _add_task(parser, simulator)
    add_policy(parser)
    parser.add_argument("--episodes", type=positive, default=50, metavar="N", help="number of episodes (default: 50)")
    add_replan(parser)
    add_timing(parser)
    add_resume(parser)
    add_running(parser)
    parser.add_argument(
        "--max-steps", type=positive, metavar="N", help="maximum steps per episode (default: the task's)"
    )
    add_quiet_flag(parser)
    parser.set_defaults(command=functools.partial(_evaluate, simulator))


def _add_latency(parser: argparse.ArgumentParser, simulator: Simulator) -> None:
    _add_task(parser, simulator)
    add_policy(parser)
    parser.add_argument("--episodes", type=positive, default=20, metavar="N", help="episodes per row (default: 20)")
    add_replan(parser)
    parser.add_argument(
        "--latencies-ms", type=not_negative, nargs="+", default=[0, 100, 200, 400], metavar="MS",
        help="simulated times from a request to its answer (default: 0 100 200 400)",
    )  # fmt: skip
    add_running(parser)
    add_quiet_flag(parser)
    parser.set_defaults(command=functools.partial(_latency, simulator))


def _add_task(parser: argparse.ArgumentParser, simulator: Simulator) -> None:
    parser.add_argument("--task", required=True, choices=sorted(simulator.tasks), help="task")
    parser.add_argument(
        "--seed", type=int, default=0,
        help="block of initial states; record and evaluate never share any (default: 0)",
    )  # fmt: skip


def _record(simulator: Simulator, arguments: argparse.Namespace) -> None:
    spec = simulator.tasks[arguments.task]
    request = RecordRequest(
        spec=spec,
        out=arguments.out,
        num_demos=arguments.num_demos,
        seed=arguments.seed,
        noise=_NOISE[arguments.noise],
    )
    with contextlib.ExitStack() as stack:

        @functools.cache
        def task() -> ScriptedTask:
            return stack.enter_context(contextlib.closing(simulator.build(spec)))

        progress = stack.enter_context(Progress(f"record {spec.name}", unit="demonstrations", quiet=arguments.quiet))
        report = record(request, task, progress.say, progress)
    print(
        f"{report.path}: {report.num_demos} demonstrations, {report.num_steps} steps; the expert succeeded in "
        f"{100 * report.expert_rate:.1f} % of {report.num_demos + report.num_failed} episodes"
    )


@contextlib.contextmanager
def _opened(
    simulator: Simulator, arguments: argparse.Namespace, progress: Progress
) -> Iterator[tuple[Policy, ScriptedTask]]:
    """Open the policy and the task, with the folder of the results and the progress around both."""
    with results_folder(arguments.out), progress:
        policy = open_policy(arguments, CONVENTION)
        with contextlib.closing(simulator.build(simulator.tasks[arguments.task])) as task:
            yield policy, task


def _workers(simulator: Simulator, arguments: argparse.Namespace) -> ScriptedWorkers | None:
    workers = workers_of(arguments, CONVENTION)
    if workers is None:
        return None
    return ScriptedWorkers(number=workers.number, open_policy=workers.open_policy, build=simulator.build)


def _evaluate(simulator: Simulator, arguments: argparse.Namespace) -> None:
    spec = simulator.tasks[arguments.task]
    request = EvaluateRequest(
        benchmark=simulator.name,
        spec=spec,
        out=arguments.out,
        num_episodes=arguments.episodes,
        replan_steps=arguments.replan_steps,
        seed=arguments.seed,
        max_steps=arguments.max_steps,
        delay=delay_of(arguments),
        resume=arguments.resume,
        video=arguments.video,
    )
    if is_done(request.place):
        return
    progress = Progress(spec.name, unit="episodes", quiet=arguments.quiet)
    with _opened(simulator, arguments, progress) as (policy, task):
        evaluate_scripted(request, policy, task, progress.say, progress, _workers(simulator, arguments))
    print(request.place.result if arguments.quiet else f"result: {request.place.result}")


def _latency(simulator: Simulator, arguments: argparse.Namespace) -> None:
    spec = simulator.tasks[arguments.task]
    evaluation = EvaluateRequest(
        benchmark=simulator.name,
        spec=spec,
        out=arguments.out,
        num_episodes=arguments.episodes,
        replan_steps=arguments.replan_steps,
        seed=arguments.seed,
        video=arguments.video,
    )
    request = LatencyRequest(evaluation=evaluation, latencies_ms=tuple(arguments.latencies_ms))
    progress = Progress(f"{spec.name} latency", unit="episodes", quiet=arguments.quiet)
    with _opened(simulator, arguments, progress) as (policy, task):
        rows = measure_latency(request, policy, task, progress.say, progress, _workers(simulator, arguments))
    print("\n".join(latency_table(rows)))
