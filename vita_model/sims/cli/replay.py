"""The verb `vita-eval replay`: do the stored actions give back what the robot was told, and move it the same way?"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType

from vita_data.command.arguments import any_folder, local_path, positive, word
from vita_data.command.progress import Progress, add_quiet_flag
from vita_data.command.tables import text_table
from vita_data.errors import RequestError, VitaDataError
from vita_data.replay import TOLERANCE, BuiltFrom, CommandReport, compare_commands, find_built
from vita_model.sims.replay.calvin import calvin_worlds
from vita_model.sims.replay.clips import OpenWorld, replay_clips
from vita_model.sims.replay.libero import libero_worlds
from vita_model.sims.replay.loop import ReplayResult, replay_json
from vita_model.sims.replay.robosuite import robosuite_worlds
from vita_model.sims.results.scores import write_json

_SIMULATORS: Mapping[str, str] = MappingProxyType({"robosuite": "libero", "libero": "libero", "calvin": "calvin"})
"""Simulators, and the source of their recordings."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = verbs.add_parser("replay", help="compare the commands that built shards give back with the raw ones")
    parser.add_argument(
        "--shards", type=any_folder, required=True, metavar="DIR", help="folder of a built source, or of several"
    )
    parser.add_argument(
        "--raw", type=word, required=True, metavar="RAW",
        help="download that it was built from; of several sources, the folder that contains one for each, by name",
    )  # fmt: skip
    parser.add_argument("--source-file", type=local_path, metavar="FILE", help="Python file of your own source")
    parser.add_argument(
        "--simulator", choices=list(_SIMULATORS),
        help="also execute demonstrations there, by stored actions and by raw commands (default: only compare)",
    )  # fmt: skip
    parser.add_argument(
        "--assets", type=local_path, metavar="DIR",
        help="folder of LIBERO's assets, for --simulator libero (default: inside its package)",
    )  # fmt: skip
    parser.add_argument(
        "--episodes", type=positive, default=5, metavar="N", help="demonstrations to execute (default: 5)"
    )
    parser.add_argument(
        "--out", type=local_path, metavar="DIR",
        help="also write DIR/replay.json, how the executed demonstrations ended, for vita-data report --rollouts",
    )  # fmt: skip
    add_quiet_flag(parser)
    parser.set_defaults(command=_replay)


def _replay(arguments: argparse.Namespace) -> None:
    if arguments.out is not None and arguments.simulator is None:
        raise RequestError("--out needs --simulator: only executed demonstrations have success rates")
    found = find_built(arguments.shards, arguments.raw)
    file = "" if arguments.source_file is None else str(arguments.source_file)
    reports = [_compared(built, file, quiet=arguments.quiet) for built in found]
    if not any(report.has_commands for report in reports):
        names = ", ".join(report.source for report in reports)
        raise RequestError(f"--shards {arguments.shards}: {names} has no recorded commands that actions give back")
    print("\n".join(_table(reports)))
    wrong = [report for report in reports if not report.passes]
    if wrong:
        raise VitaDataError("; ".join(map(_fault, wrong)))
    if arguments.simulator is not None:
        for built in _recorded_in(arguments.simulator, found):
            _execute(built, arguments)


def _recorded_in(simulator: str, found: Sequence[BuiltFrom]) -> list[BuiltFrom]:
    wanted = _SIMULATORS[simulator]
    if not (fitting := [built for built in found if built.name == wanted]):
        names = ", ".join(built.name for built in found)
        raise RequestError(f"--simulator {simulator}: expected the built source {wanted}, found {names}")
    return fitting


def _execute(built: BuiltFrom, arguments: argparse.Namespace) -> None:
    with Progress(f"replay {built.name}", unit="demonstrations", quiet=arguments.quiet) as progress:
        results = replay_clips(built, arguments.episodes, _worlds(arguments), progress)
    print("\n".join(_result_table(results)))
    if arguments.out is not None:
        write_json(arguments.out / "replay.json", replay_json(arguments.simulator, results))
    wrong = [result for result in results if not result.passes]
    if wrong:
        raise VitaDataError(
            f"{built.name}: {len(wrong)} of {len(results)} demonstrations, first {wrong[0].name}, do not end as by raw "
            f"commands (allowed: {wrong[0].limit_mm:.1f} mm and the same success)"
        )


def _worlds(arguments: argparse.Namespace) -> AbstractContextManager[OpenWorld]:
    if arguments.simulator == "robosuite":
        return robosuite_worlds()
    return calvin_worlds() if arguments.simulator == "calvin" else libero_worlds(arguments.assets)


def _result_table(results: Sequence[ReplayResult]) -> list[str]:
    head = (
        "demonstration",
        "steps",
        "recorded",
        "raw",
        "product",
        "product to raw, mm",
        "allowed",
        "raw to recording, mm",
    )
    rows = [
        (
            result.name, str(result.num_steps),
            *(_word(ended) for ended in (result.recorded_success, result.raw_success, result.product_success)),
            f"{result.difference_mm:.4f}", f"{result.limit_mm:.1f}", f"{result.raw_off_mm:.4f}",
        )
        for result in results
    ]  # fmt: skip
    return text_table([head, *rows], "lrlllrrr")


def _word(success: bool) -> str:  # noqa: FBT001
    return "success" if success else "failed"


def _compared(built: BuiltFrom, source_file: str, *, quiet: bool) -> CommandReport:
    with Progress(f"replay {built.name}", unit="clips", quiet=quiet) as progress:
        return compare_commands(built, source_file=source_file, progress=progress)


def _table(reports: list[CommandReport]) -> list[str]:
    rows = [("source", "clips", "rows", "command", "largest difference", "at")]
    for report in reports:
        counts = (report.source, str(report.num_clips), str(report.num_rows))
        if not report.has_commands:
            rows.append((report.source, "", "", "none recorded that its actions give back", "", ""))
        for name, worst in report.worst.items():
            rows.append((*counts, name, f"{worst.error:.1e}", f"{worst.clip} step {worst.step}"))
    return text_table(rows, "lrrlrl")


def _fault(report: CommandReport) -> str:
    name, worst = max(report.worst.items(), key=lambda item: item[1].error)
    return (
        f"{report.source}: {name} differs by {worst.error:.1e} (allowed: {TOLERANCE:.0e}) in clip {worst.clip} row "
        f"{worst.row} (native step {worst.step}); the conversion is wrong, or --raw is another download"
    )
