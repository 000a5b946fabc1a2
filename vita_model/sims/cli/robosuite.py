"""The verbs `vita-eval robosuite record` and `evaluate`."""

import argparse
import contextlib
import functools

from vita_data.command.arguments import local_path, positive
from vita_data.command.progress import Progress, add_quiet_flag
from vita_model.policy.opener import load_policy
from vita_model.sims.cli.options import add_policy, add_replan, make_results_folder
from vita_model.sims.robosuite.evaluate import CONVENTION, EvaluateRequest, evaluate_robosuite
from vita_model.sims.robosuite.noise import CALM, DISTURBED
from vita_model.sims.robosuite.record import RecordRequest, record
from vita_model.sims.robosuite.tasks import TASKS, RobosuiteTask, find_task

_NOISE = {"path": DISTURBED, "none": CALM}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs."""
    parser = verbs.add_parser(
        "robosuite", help="record demonstrations or evaluate on Lift and Stack of robosuite 1.4.0"
    )
    inner = parser.add_subparsers(required=True, metavar="VERB")
    _add_record(inner.add_parser("record", help="record scripted demonstrations as LIBERO-format HDF5"))
    _add_evaluate(inner.add_parser("evaluate", help="evaluate closed-loop success on new initial states"))


def _add_record(parser: argparse.ArgumentParser) -> None:
    _add_task(parser)
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
    parser.set_defaults(command=_record)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_task(parser)
    add_policy(parser)
    parser.add_argument("--episodes", type=positive, default=50, metavar="N", help="number of episodes (default: 50)")
    add_replan(parser)
    parser.add_argument(
        "--max-steps", type=positive, metavar="N", help="maximum steps per episode (default: the task's)"
    )
    add_quiet_flag(parser)
    parser.set_defaults(command=_evaluate)


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, choices=sorted(TASKS), help="robosuite task")
    parser.add_argument(
        "--seed", type=int, default=0,
        help="block of initial states; record and evaluate never share any (default: 0)",
    )  # fmt: skip


def _record(arguments: argparse.Namespace) -> None:
    spec = find_task(arguments.task)
    request = RecordRequest(
        spec=spec,
        out=arguments.out,
        num_demos=arguments.num_demos,
        seed=arguments.seed,
        noise=_NOISE[arguments.noise],
    )
    with contextlib.ExitStack() as stack:

        @functools.cache
        def simulator() -> RobosuiteTask:
            return stack.enter_context(contextlib.closing(RobosuiteTask(spec)))

        progress = stack.enter_context(Progress(f"record {spec.name}", unit="demonstrations", quiet=arguments.quiet))
        report = record(request, simulator, progress.say, progress)
    print(
        f"{report.path}: {report.num_demos} demonstrations, {report.num_steps} steps; the expert succeeded in "
        f"{100 * report.expert_rate:.1f} % of {report.num_demos + report.num_failed} episodes"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    spec = find_task(arguments.task)
    request = EvaluateRequest(
        spec=spec,
        out=arguments.out,
        num_episodes=arguments.episodes,
        replan_steps=arguments.replan_steps,
        seed=arguments.seed,
        max_steps=arguments.max_steps,
    )
    make_results_folder(request.out)
    policy = load_policy(arguments.policy, convention=CONVENTION, source=arguments.source)
    progress = Progress(spec.name, unit="episodes", quiet=arguments.quiet)
    with contextlib.closing(RobosuiteTask(spec)) as task, progress:
        evaluate_robosuite(request, policy, task, progress.say, progress)
    if arguments.quiet:  # otherwise the rates are printed
        print(request.out / "result.json")
