"""The verbs `vita-eval libero | calvin | simplerenv | table | trials`."""

import argparse

from vita_data.command.arguments import local_path, positive, word
from vita_data.command.progress import Progress, add_quiet_flag
from vita_model.sims.benchmarks import calvin, libero, simplerenv
from vita_model.sims.benchmarks.calvin_installation import Renderer
from vita_model.sims.benchmarks.calvin_installation import check_installation as check_calvin
from vita_model.sims.benchmarks.calvin_sequences import NUM_CHAINS
from vita_model.sims.benchmarks.libero_installation import check_installation as check_libero
from vita_model.sims.benchmarks.simplerenv_tasks import Robot
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
from vita_model.sims.results.tables import tables_text
from vita_model.sims.results.trials import trials_text


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs."""
    _add_libero(verbs.add_parser("libero", help="evaluate on a LIBERO suite (Table 2)"))
    _add_calvin(verbs.add_parser("calvin", help="evaluate on CALVIN ABC-D (Table 1)"))
    _add_simplerenv(verbs.add_parser("simplerenv", help="evaluate on SimplerEnv (Tables 3 and 4)"))
    table = verbs.add_parser("table", help="print results as tables next to the paper's numbers")
    table.add_argument("results", type=local_path, nargs="+", metavar="RESULT.json", help="result files")
    table.set_defaults(command=_table)
    trials = verbs.add_parser("trials", help="print Table 5 from a sheet of real-robot trials")
    trials.add_argument(
        "sheet", type=local_path, metavar="TRIALS.csv", help="CSV file with the columns model, evaluation and success"
    )
    trials.set_defaults(command=_trials)


def _add_libero(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    add_replan(parser)
    add_timing(parser)
    add_resume(parser)
    add_running(parser)
    parser.add_argument("--suite", required=True, choices=sorted(libero.SUITES), help="LIBERO suite")
    parser.add_argument(
        "--trials", type=positive, default=libero.NUM_TRIALS, metavar="N",
        help="trials per task (default: 50, as in the protocol)",
    )  # fmt: skip
    parser.add_argument("--tasks", type=int, nargs="*", default=[], metavar="K", help="task numbers (default: all)")
    parser.add_argument(
        "--assets", type=local_path, metavar="DIR", help="folder of LIBERO's assets (default: inside its package)"
    )
    parser.add_argument(
        "--image-size", type=positive, default=libero.IMAGE_SIZE, metavar="PX",
        help="pixels of rendered images, as in the raw data of the checkpoint (default: 128, as in LIBERO's own files)",
    )  # fmt: skip
    add_quiet_flag(parser)
    parser.set_defaults(command=_libero)


def _add_calvin(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    add_replan(parser)
    add_timing(parser)
    add_resume(parser)
    add_running(parser)
    parser.add_argument(
        "--dataset", type=local_path, metavar="DIR",
        help="folder task_ABC_D of the CALVIN dataset (default: environment D as configured in the clone)",
    )  # fmt: skip
    parser.add_argument(
        "--renderer", choices=[renderer.value for renderer in Renderer], default=Renderer.EGL.value,
        help="pybullet's renderer: egl, as in CALVIN's datasets, or tiny, which needs no driver (default: egl)",
    )  # fmt: skip
    parser.add_argument(
        "--num-sequences", type=positive, default=NUM_CHAINS, metavar="N",
        help="number of instruction chains (default: 1000, as in the protocol)",
    )  # fmt: skip
    parser.add_argument(
        "--ep-len", type=positive, default=calvin.MAX_STEPS, metavar="N",
        help="maximum steps per instruction (default: 360, as in the protocol)",
    )  # fmt: skip
    add_quiet_flag(parser)
    parser.set_defaults(command=_calvin)


def _add_simplerenv(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    add_replan(parser)
    add_timing(parser)
    add_resume(parser)
    add_running(parser)
    parser.add_argument("--robot", required=True, choices=[robot.value for robot in Robot], help="robot to evaluate")
    parser.add_argument(
        "--episodes", type=positive, default=simplerenv.NUM_EPISODES, metavar="N",
        help="episodes per task (default: 24, as in the protocol)",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", type=word, nargs="*", default=[], metavar="COLUMN",
        help="tasks by their table column, e.g. PutSpoon (default: all)",
    )  # fmt: skip
    add_quiet_flag(parser)
    parser.set_defaults(command=_simplerenv)


def _libero(arguments: argparse.Namespace) -> None:
    request = libero.LiberoRequest(
        suite=arguments.suite,
        out=arguments.out,
        replan_steps=arguments.replan_steps,
        delay=delay_of(arguments),
        resume=arguments.resume,
        video=arguments.video,
        num_trials=arguments.trials,
        tasks=tuple(arguments.tasks),
        assets=arguments.assets,
        image_size=arguments.image_size,
    )
    if not is_done(request.place):
        check_libero(request.assets)
        progress = Progress("libero", unit="episodes", quiet=arguments.quiet)
        with results_folder(request.out), progress:
            policy, workers = open_policy(arguments, libero.CONVENTION), workers_of(arguments, libero.CONVENTION)
            libero.evaluate_libero(request, policy, progress.say, progress, workers)
    print(tables_text([request.place.result]))


def _calvin(arguments: argparse.Namespace) -> None:
    request = calvin.CalvinRequest(
        out=arguments.out,
        dataset=arguments.dataset,
        renderer=Renderer(arguments.renderer),
        replan_steps=arguments.replan_steps,
        delay=delay_of(arguments),
        resume=arguments.resume,
        video=arguments.video,
        num_chains=arguments.num_sequences,
        max_steps=arguments.ep_len,
    )
    if not is_done(request.place):
        check_calvin(request.dataset)
        progress = Progress("calvin", unit="chains", quiet=arguments.quiet)
        with results_folder(request.out), progress:
            policy, workers = open_policy(arguments, calvin.CONVENTION), workers_of(arguments, calvin.CONVENTION)
            calvin.evaluate_calvin(request, policy, progress.say, progress, workers)
    print(tables_text([request.place.result]))


def _simplerenv(arguments: argparse.Namespace) -> None:
    request = simplerenv.SimplerRequest(
        robot=Robot(arguments.robot),
        out=arguments.out,
        replan_steps=arguments.replan_steps,
        delay=delay_of(arguments),
        resume=arguments.resume,
        video=arguments.video,
        num_episodes=arguments.episodes,
        columns=tuple(arguments.tasks),
    )
    if not is_done(request.place):
        simplerenv.check_installation(request.robot)
        progress = Progress("simplerenv", unit="episodes", quiet=arguments.quiet)
        with results_folder(request.out), progress:
            policy, workers = (
                open_policy(arguments, simplerenv.CONVENTION),
                workers_of(arguments, simplerenv.CONVENTION),
            )
            simplerenv.evaluate_simplerenv(request, policy, progress.say, progress, workers)
    print(tables_text([request.place.result]))


def _table(arguments: argparse.Namespace) -> None:
    print(tables_text(arguments.results))


def _trials(arguments: argparse.Namespace) -> None:
    print(trials_text(arguments.sheet))
