"""The verbs `vita-eval libero | calvin | simplerenv | table | trials`."""

import argparse

from vita_data.command.arguments import local_path, positive, word
from vita_data.errors import RequestError
from vita_model.policy.interfaces import Policy
from vita_model.policy.opener import RANDOM, load_policy
from vita_model.sims.benchmarks import calvin, libero, simplerenv
from vita_model.sims.benchmarks.simplerenv_tasks import Robot
from vita_model.sims.cli.options import add_policy, add_replan, add_resume, make_results_folder
from vita_model.sims.results.journal import Place
from vita_model.sims.results.tables import tables_text
from vita_model.sims.results.trials import trials_text


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs."""
    _add_libero(verbs.add_parser("libero", help="LIBERO's four suites (Table 2); your own installation and assets"))
    _add_calvin(verbs.add_parser("calvin", help="CALVIN ABC-D's chains (Table 1); your own clones and data set"))
    _add_simplerenv(
        verbs.add_parser("simplerenv", help="SimplerEnv (Tables 3 and 4); your own installation and assets")
    )
    table = verbs.add_parser("table", help="results beside the paper's rows, averages computed")
    table.add_argument("results", type=local_path, nargs="+", metavar="RESULT.json")
    table.set_defaults(command=_table)
    trials = verbs.add_parser("trials", help="Table 5 from a sheet of recorded real-robot trials")
    trials.add_argument("sheet", type=local_path, metavar="TRIALS.csv", help="columns model, evaluation, success")
    trials.set_defaults(command=_trials)


def _add_libero(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    add_replan(parser)
    add_resume(parser)
    parser.add_argument("--suite", required=True, choices=sorted(libero.SUITES))
    parser.add_argument("--trials", type=positive, default=libero.NUM_TRIALS, metavar="N", help="a task; protocol: 50")
    parser.add_argument("--tasks", type=int, nargs="*", default=[], metavar="K", help="numbers of tasks; default: all")
    parser.add_argument(
        "--assets", type=local_path, metavar="DIR", help="where LIBERO's assets lie; default: in its package"
    )
    parser.set_defaults(command=_libero)


def _add_calvin(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    add_replan(parser)
    add_resume(parser)
    parser.add_argument(
        "--dataset", type=local_path, required=True, metavar="DIR", help="task_ABC_D, for environment D"
    )
    parser.add_argument("--num-sequences", type=positive, default=calvin.NUM_CHAINS, metavar="N", help="protocol: 1000")
    parser.add_argument("--ep-len", type=positive, default=calvin.MAX_STEPS, metavar="N", help="protocol: 360")
    parser.set_defaults(command=_calvin)


def _add_simplerenv(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    add_replan(parser)
    add_resume(parser)
    parser.add_argument("--robot", required=True, choices=[robot.value for robot in Robot])
    parser.add_argument("--episodes", type=positive, default=simplerenv.NUM_EPISODES, metavar="N", help="protocol: 24")
    parser.add_argument(
        "--tasks", type=word, nargs="*", default=[], metavar="COLUMN", help="PutSpoon ...; default: all"
    )
    parser.set_defaults(command=_simplerenv)


def _libero(arguments: argparse.Namespace) -> None:
    request = libero.LiberoRequest(
        suite=arguments.suite,
        out=arguments.out,
        replan_steps=arguments.replan_steps,
        resume=arguments.resume,
        num_trials=arguments.trials,
        tasks=tuple(arguments.tasks),
        assets=arguments.assets,
    )
    if not _is_done(request.place):
        libero.check_installation(request.assets)
        make_results_folder(request.out)
        libero.evaluate_libero(request, _policy(arguments, libero.CONVENTION), _say)
    print(tables_text([request.place.result]))


def _calvin(arguments: argparse.Namespace) -> None:
    request = calvin.CalvinRequest(
        out=arguments.out,
        dataset=arguments.dataset,
        replan_steps=arguments.replan_steps,
        resume=arguments.resume,
        num_chains=arguments.num_sequences,
        max_steps=arguments.ep_len,
    )
    if not _is_done(request.place):
        calvin.check_installation(request.dataset)
        make_results_folder(request.out)
        calvin.evaluate_calvin(request, _policy(arguments, calvin.CONVENTION), _say)
    print(tables_text([request.place.result]))


def _simplerenv(arguments: argparse.Namespace) -> None:
    request = simplerenv.SimplerRequest(
        robot=Robot(arguments.robot),
        out=arguments.out,
        replan_steps=arguments.replan_steps,
        resume=arguments.resume,
        num_episodes=arguments.episodes,
        columns=tuple(arguments.tasks),
    )
    if not _is_done(request.place):
        simplerenv.check_installation(request.robot)
        make_results_folder(request.out)
        simplerenv.evaluate_simplerenv(request, _policy(arguments, simplerenv.CONVENTION), _say)
    print(tables_text([request.place.result]))


def _is_done(place: Place) -> bool:
    if place.is_done:
        _say(f"{place.result} is there already, and nothing to go on with; another folder measures again")
    return place.is_done


def _policy(arguments: argparse.Namespace, convention: str) -> Policy:
    if arguments.policy == RANDOM and arguments.resume:
        raise RequestError(f"--resume --policy {RANDOM}: its commands are one stream; begin anew in another folder")
    return load_policy(arguments.policy, convention=convention, source=arguments.source)


def _table(arguments: argparse.Namespace) -> None:
    print(tables_text(arguments.results))


def _trials(arguments: argparse.Namespace) -> None:
    print(trials_text(arguments.sheet))


def _say(line: str) -> None:
    print(line, flush=True)
