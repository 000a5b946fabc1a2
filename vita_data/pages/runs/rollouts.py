"""Sections of the report about rollouts in a simulator: films, and success rates in a sentence and a table.

Evaluations of one task, by policies of several trainings, share a section; replayed demonstrations stand beside them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vita_data.errors import RequestError, ShardError
from vita_data.formats.json_text import parse_json
from vita_data.nearby import near_name
from vita_data.pages.drawing.html import Markup, Section, Table, element, film, join, paragraph, table, text
from vita_data.pages.runs.seeds import mean_and_half

RESULT, FILM, REPLAY = "result.json", "rollouts.mp4", "replay.json"
_NAMES = {
    "policy": "the policy", "expert": "the scripted expert", "random": "random commands",
    "raw": "recorded demonstrations, replayed by their raw commands",
    "stored": "recorded demonstrations, replayed by their stored actions",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Successes of one policy, with the 95% interval in percent."""

    name: str
    successes: int
    episodes: int
    interval_percent: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """What `vita-eval tabletop evaluate` or `robosuite evaluate` wrote."""

    benchmark: str
    instruction: str
    actor: str
    """The policy as `--policy` named it: it need not be of the report's runs."""
    rates: tuple[Rate, ...]
    num_filmed: int | None
    """How many of the first episodes the film shows; None if an earlier version of the evaluation wrote it."""
    film: bytes

    @property
    def policy(self) -> Rate:
        """The policy's own rate."""
        return next(rate for rate in self.rates if rate.name == "policy")


def read_rollouts(folder: Path) -> Rollouts:
    """Read an evaluation's result and film.

    Raises:
        RequestError: the folder holds no such evaluation.
        ShardError: the result is damaged.
    """
    for name in (RESULT, FILM):
        if not (folder / name).is_file():
            give = "; give the --out of `vita-eval tabletop evaluate` or `vita-eval robosuite evaluate`"
            raise RequestError(f"--rollouts {folder}: {name} not found{near_name(folder) or give}")
    try:
        result: Any = parse_json((folder / RESULT).read_text(encoding="utf-8"))
        rates = tuple(_rate(name, values) for name, values in result["rates"].items())
        found = Rollouts(
            benchmark=str(result["benchmark"]), instruction=str(result["instruction"]),
            actor=str(result["policy"]["name"]), rates=rates, film=(folder / FILM).read_bytes(),
            num_filmed=int(result["num_filmed"]) if "num_filmed" in result else None,
        )  # fmt: skip
        _ = found.policy
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as fault:
        raise ShardError(f"{folder / RESULT}: cannot be read ({fault!r}); run the evaluation again") from fault
    return found


_Trained = tuple[Path, Rollouts]
"""The evaluation of one training's policy, and its folder."""


def rollouts_sections(folders: Sequence[Path], runs: Sequence[Path] = ()) -> Iterator[Section]:
    """Yield a section for each task that was evaluated.

    Args:
        folders: of evaluations, and of replays in the same simulators.
        runs: the training runs on the same page.

    Raises:
        RequestError, ShardError: as `read_rollouts`, or there are only replays.
    """
    replays = [folder for folder in folders if (folder / REPLAY).is_file()]
    tasks: dict[tuple[str, str], list[_Trained]] = {}
    for folder in folders:
        if folder not in replays:
            found = read_rollouts(folder)
            tasks.setdefault((found.benchmark, found.instruction), []).append((folder, found))
    if replays and not tasks:
        raise RequestError(
            f"--rollouts {replays[0]}: a replay is shown beside evaluations; give the folder of one, too"
        )
    for trained in tasks.values():
        yield _section(trained, replays, runs)


def _section(trained: Sequence[_Trained], replays: Sequence[Path], runs: Sequence[Path]) -> Section:
    """Make the section of the evaluations of one task."""
    first = trained[0][1]
    shown = list(first.rates)
    if len(trained) > 1:
        policies = [replace(found.policy, name=f"the policy, {folder}") for folder, found in trained]
        shown = [*policies, *(rate for rate in first.rates if rate.name != "policy")]
    shown += [rate for folder in replays for rate in _replayed(folder, first.benchmark)]
    rows = tuple(
        (_NAMES.get(rate.name, rate.name), f"{rate.successes} of {rate.episodes}", _interval(rate)) for rate in shown
    )
    is_one = len(trained) == 1
    said = _sentence(first) if is_one else _over_seeds([found.policy for _, found in trained])
    return Section(
        title=f"Rollouts: {first.instruction}",
        explanation=f"Episodes of {first.benchmark}, from initial states that no demonstration has. Green: solved; "
        "red: not solved within the limit.",
        body=join([
            paragraph(f"{said}{_elsewhere([found for _, found in trained], runs)}"),
            *(part for folder, found in trained for part in _film(folder, found, is_named=not is_one)),
            table(Table(header=("who acts", "solved", "95% interval"), rows=rows)),
        ]),
    )  # fmt: skip


def _film(folder: Path, found: Rollouts, *, is_named: bool) -> Iterator[Markup]:
    if is_named:
        yield element("h3", text(str(folder)))
    if found.num_filmed is not None:
        yield paragraph(_filmed(found.num_filmed, found.policy.episodes), css="explain")
    yield film(found.film, f"Rollouts of the policy, {found.actor}: {found.instruction}")


def _filmed(num_filmed: int, num_episodes: int) -> str:
    """Say which episodes a film shows, which may be fewer than were counted."""
    if num_filmed == num_episodes:
        return "The film shows all episodes."
    return f"The film shows the first {num_filmed} of the {num_episodes} episodes."


def _elsewhere(found: Sequence[Rollouts], runs: Sequence[Path]) -> str:
    """Say which policies are of no run on the page, so that nobody takes their successes for the runs'."""
    folders = {run.resolve() for run in runs}
    others = [
        one.actor
        for one in found
        if Path(one.actor).is_dir() and not folders & {path := Path(one.actor).resolve(), *path.parents}
    ]
    if not runs or not others:
        return ""
    is_one = len(others) == 1
    return (
        f" {', '.join(dict.fromkeys(others))} {'is not one' if is_one else 'are none'} of the training runs on this "
        f"page; {'it was' if is_one else 'they were'} trained elsewhere."
    )


def _over_seeds(policies: Sequence[Rate]) -> str:
    """Say what the trainings reach in the mean; the interval over them contains the luck of training."""
    mean, half = mean_and_half([100.0 * rate.successes / rate.episodes for rate in policies])
    low, high = max(mean - half, 0.0), min(mean + half, 100.0)
    counts = ", ".join(f"{rate.successes} of {rate.episodes}" for rate in policies)
    spread = f"95% interval over trainings: {low:.0f}% to {high:.0f}%" if half else "no training differs from another"
    return f"The policies of {len(policies)} trainings solved {counts} episodes: {mean:.0f}% in the mean ({spread})."


def _replayed(folder: Path, benchmark: str) -> list[Rate]:
    """Read the rates of a replay, if it ran in a simulator of that name."""
    try:
        result: Any = parse_json((folder / REPLAY).read_text(encoding="utf-8"))
        rates = [_rate(name, values) for name, values in result["rates"].items()]
        return rates if result["benchmark"] == benchmark else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ShardError(f"{folder / REPLAY}: cannot be read ({fault!r}); run the replay again") from fault


def _sentence(found: Rollouts) -> str:
    policy = found.policy
    others = [
        f"{_NAMES.get(rate.name, rate.name)} {rate.successes}" for rate in found.rates if rate.name != policy.name
    ]
    beside = f" For comparison: {', '.join(others)}." if others else ""
    random = next((rate for rate in found.rates if rate.name == "random"), None)
    better = random is None or policy.interval_percent[0] > random.interval_percent[1]
    judged = "" if better else " So few successes do not show that it is better than random commands."
    solved = f"The policy, {found.actor}, solved {policy.successes} of {policy.episodes} episodes."
    return f"{solved}{judged}{beside}"


def _rate(name: str, values: Any) -> Rate:
    low, high = values["interval_percent"]
    return Rate(
        name=name, successes=int(values["num_successes"]), episodes=int(values["num_episodes"]),
        interval_percent=(float(low), float(high)),
    )  # fmt: skip


def _interval(rate: Rate) -> str:
    low, high = rate.interval_percent
    return f"{low:.0f}% to {high:.0f}%"
