"""Section of the report about rollouts in a simulator: a film, and success rates in a sentence and a table."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vita_data.errors import RequestError, ShardError
from vita_data.pages.drawing.html import Section, Table, film, join, paragraph, table

RESULT, FILM = "result.json", "rollouts.mp4"
_NAMES = {"policy": "the policy", "expert": "the scripted expert", "random": "random commands"}


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
    rates: tuple[Rate, ...]
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
            raise RequestError(
                f"--rollouts {folder}: {name} not found; give the --out of `vita-eval tabletop evaluate` or "
                "`vita-eval robosuite evaluate`"
            )
    try:
        result: Any = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        rates = tuple(_rate(name, values) for name, values in result["rates"].items())
        found = Rollouts(
            benchmark=str(result["benchmark"]), instruction=str(result["instruction"]), rates=rates,
            film=(folder / FILM).read_bytes(),
        )  # fmt: skip
        _ = found.policy
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError) as fault:
        raise ShardError(f"{folder / RESULT}: cannot be read ({fault!r}); run the evaluation again") from fault
    return found


def rollouts_section(folder: Path) -> Section:
    """Return the section of one evaluation; raises as `read_rollouts`."""
    found = read_rollouts(folder)
    rows = tuple(
        (_NAMES.get(rate.name, rate.name), f"{rate.successes} of {rate.episodes}", _interval(rate))
        for rate in found.rates
    )
    return Section(
        title=f"Rollouts: {found.instruction}",
        explanation=f"Episodes of {found.benchmark}, from initial states that no demonstration has. Green: solved; "
        "red: not solved within the limit.",
        body=join([
            paragraph(_sentence(found)),
            film(found.film, f"Rollouts of the policy: {found.instruction}"),
            table(Table(header=("who acts", "solved", "95% interval"), rows=rows)),
        ]),
    )  # fmt: skip


def _sentence(found: Rollouts) -> str:
    policy = found.policy
    others = [
        f"{_NAMES.get(rate.name, rate.name)} {rate.successes}" for rate in found.rates if rate.name != policy.name
    ]
    beside = f" For comparison: {', '.join(others)}." if others else ""
    random = next((rate for rate in found.rates if rate.name == "random"), None)
    better = random is None or policy.interval_percent[0] > random.interval_percent[1]
    judged = "" if better else " So few successes do not show that it is better than random commands."
    return f"The policy solved {policy.successes} of {policy.episodes} episodes.{judged}{beside}"


def _rate(name: str, values: Any) -> Rate:
    low, high = values["interval_percent"]
    return Rate(
        name=name, successes=int(values["num_successes"]), episodes=int(values["num_episodes"]),
        interval_percent=(float(low), float(high)),
    )  # fmt: skip


def _interval(rate: Rate) -> str:
    low, high = rate.interval_percent
    return f"{low:.0f}% to {high:.0f}%"
