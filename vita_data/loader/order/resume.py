"""The position of a run as a few numbers, and how to continue from it if the plan has changed."""

from collections.abc import Mapping
from enum import StrEnum

from vita_data.errors import RequestError
from vita_data.loader.order.plan import Plan
from vita_data.loader.order.sampler import MixedModalitySampler
from vita_data.types import Json, Modality


class PlanChange(StrEnum):
    """What to do with a state written by another plan."""

    REFUSE = "refuse"
    ALLOW = "allow"


def resume_plan(plan: Plan, state: Json, *, plan_change: PlanChange = PlanChange.REFUSE) -> Plan:
    """Set a plan to the position of a state, so that its batch `state["step"]` continues the run.

    If the plan has changed and that is allowed, each source with unchanged windows continues at its own position; every
    other source starts its first pass.

    Raises:
        RequestError: the plan has changed, which is not allowed; names what changed.
    """
    then = _State(state)
    same = plan.with_offsets({pool: then.number(pool, "offset") for pool in then.sources})
    if same.hash == then.plan:
        return same
    if plan_change is PlanChange.REFUSE:
        raise RequestError(
            f"the state was saved at step {then.step} of another plan; changed: {'; '.join(_changes(plan, then))}; "
            "restore the plan, or continue with --allow-plan-change (in Python: plan_change=vita_data.PlanChange.ALLOW)"
        )
    fresh = MixedModalitySampler(plan.with_offsets({})).draws_before(then.step)
    return plan.with_offsets({pool: then.position(plan, pool) - drawn for pool, drawn in fresh.items()})


class _State:
    """A state as read back from JSON."""

    def __init__(self, state: Json) -> None:
        try:
            self.step = int(str(state["step"]))
            self.plan = str(state["plan"])
            self.fields = _table(state["fields"])
            self.sources = {
                (Modality(modality), label): _table(entry)
                for modality, entries in _table(state["sources"]).items()
                for label, entry in _table(entries).items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(
                f"expected a state that a loader's `state_dict` gave ({error!r}); got {state!r}"
            ) from error

    def number(self, pool: tuple[Modality, str], name: str) -> int:
        return int(str(self.sources[pool][name]))

    def position(self, plan: Plan, pool: tuple[Modality, str]) -> int:
        digests = {(m, one.label): one.pool.digest for m, planned in plan.pools.items() for one in planned}
        same_seed = self.fields.get("seed") == plan.seed
        unchanged = same_seed and pool in self.sources and self.sources[pool]["digest"] == digests[pool]
        return self.number(pool, "draws") if unchanged else 0


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a table, found {value!r}")
    return value


def _changes(plan: Plan, then: _State) -> list[str]:
    changes = [
        f"{name} {then.fields.get(name)!r} -> {value!r}"
        for name, value in plan.fields.items()
        if then.fields.get(name) != value
    ]
    now = {(modality, one.label): one for modality, planned in plan.pools.items() for one in planned}
    changes += [f"{pool[0]} source {pool[1]} was removed" for pool in then.sources if pool not in now]
    for pool, one in now.items():
        modality, label = pool
        if pool not in then.sources:
            changes.append(f"{modality} source {label} was added")
            continue
        values = {
            "digest": one.pool.digest, "windows": one.pool.num_windows, "statistics": one.statistics,
            "share": one.share,
        }  # fmt: skip
        changes += [
            f"{modality} source {label}: {name} {then.sources[pool].get(name)!r} -> {value!r}"
            for name, value in values.items()
            if then.sources[pool].get(name) != value
        ]
    return changes or ["the position of its sources"]
