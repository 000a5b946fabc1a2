"""`--limit N` takes the first N raw episodes, and a later run with a larger N, or without, goes on from there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vita_data.builder.made import contents, request
from vita_data.builder import Listeners, Share, build, status
from vita_data.builder.run import BuildState, UnitDone
from vita_data.builder.stored_plan import read_plan
from vita_data.errors import RequestError

NUM_EPISODES = 32
"""Of the tree: eight files of four, each a unit."""


@pytest.fixture(scope="module")
def limited(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of the episodes: one whole unit, and half of the next."""
    out = tmp_path_factory.mktemp("limited")
    build(request("libero", raw, out, limit=6))
    return out


def units_built(raw: Path, out: Path, **changes: object) -> list[int]:
    made: list[UnitDone] = []
    build(request("libero", raw, out, **changes), listeners=Listeners(on_unit=made.append))
    return sorted(done.record.number for done in made)


def test_a_larger_limit_goes_on_to_the_bytes_of_a_build_of_its_own(
    raw: Path, undisturbed: Path, limited: Path, tmp_path: Path
) -> None:
    grown, direct = tmp_path / "grown", tmp_path / "direct"
    shutil.copytree(limited, grown)
    found = status(grown / "libero")
    assert (found.num_done, found.num_units, found.finished) == (2, 2, True)
    assert build(request("libero", raw, grown, limit=6)).state is BuildState.ALREADY_DONE

    assert units_built(raw, grown, limit=11) == [1, 2]
    build(request("libero", raw, direct, limit=11))
    assert contents(grown) == contents(direct)
    card = json.loads((grown / "libero" / "dataset.json").read_text())
    assert (card["limit"], card["outcomes"]) == (11, {"ok": 11})

    assert units_built(raw, grown) == [2, 3, 4, 5, 6, 7]
    assert contents(grown) == contents(undisturbed)


def test_a_limit_beyond_the_end_builds_nothing_anew(raw: Path, undisturbed: Path, tmp_path: Path) -> None:
    build(request("libero", raw, tmp_path, limit=NUM_EPISODES))
    assert units_built(raw, tmp_path) == []
    assert contents(tmp_path) == contents(undisturbed)


def test_a_limit_on_a_whole_build_is_nothing_to_do_or_named_as_less(raw: Path, undisturbed: Path) -> None:
    for limit in (NUM_EPISODES, 1000):
        assert build(request("libero", raw, undisturbed, limit=limit)).state is BuildState.ALREADY_DONE
    said = (
        rf"already contains all {NUM_EPISODES} raw episodes; "
        r"the smaller --limit 2 would remove some of them. Omit --limit"
    )
    with pytest.raises(RequestError, match=said):
        build(request("libero", raw, undisturbed, limit=2))


@pytest.mark.parametrize("limit", [5, 1])
def test_a_smaller_limit_is_refused_and_changes_nothing(raw: Path, limited: Path, tmp_path: Path, limit: int) -> None:
    shutil.copytree(limited, tmp_path, dirs_exist_ok=True)
    with pytest.raises(RequestError, match=rf"was built with --limit 6; the smaller --limit {limit} would"):
        build(request("libero", raw, tmp_path, limit=limit))
    assert contents(tmp_path) == contents(limited)


def test_a_larger_limit_with_other_settings_is_still_refused(raw: Path, limited: Path, tmp_path: Path) -> None:
    shutil.copytree(limited, tmp_path, dirs_exist_ok=True)
    asked = request("libero", raw, tmp_path)
    other = request("libero", raw, tmp_path, settings=type(asked.settings)(unit_bytes=1, min_frames=14))
    with pytest.raises(
        RequestError, match=r"--set min_frames=13 \(the default\), but this build asks for --set min_frames=14;"
    ):
        build(other)
    assert contents(tmp_path) == contents(limited)


def test_shares_go_on_from_a_limit(raw: Path, undisturbed: Path, limited: Path, tmp_path: Path) -> None:
    shutil.copytree(limited, tmp_path, dirs_exist_ok=True)
    for rank in (1, 0):
        build(request("libero", raw, tmp_path), share=Share(rank=rank, num_ranks=2))
    assert status(tmp_path / "libero").num_done == 8
    build(request("libero", raw, tmp_path))
    assert contents(tmp_path) == contents(undisturbed)


def test_a_kill_at_any_write_of_a_build_that_grows_is_safe(
    toy_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run is stopped before its n-th change of the output, and the next one asks for all, or for as few as before.

    Two files of three episodes: the limit of 1 ends in the first, that of 4 in the second.
    """
    whole, few, num_stops = tmp_path / "whole", tmp_path / "few", 0
    build(request("recon", toy_raw / "recon", whole))
    build(request("recon", toy_raw / "recon", few, limit=1))
    for number in range(1, 100):
        out = Path(shutil.copytree(few, tmp_path / str(number)))
        with monkeypatch.context() as patch:
            stop_before(number, patch)
            try:
                build(request("recon", toy_raw / "recon", out, limit=4))
                break
            except KeyboardInterrupt:
                num_stops += 1
        plan = read_plan(out / "recon")
        assert plan is not None
        if plan.limit == 1:
            same = Path(shutil.copytree(out, tmp_path / f"{number}-same"))
            build(request("recon", toy_raw / "recon", same, limit=1))
            assert contents(same) == contents(few)
        build(request("recon", toy_raw / "recon", out))
        assert contents(out) == contents(whole)
    assert num_stops >= 10


def stop_before(number: int, patch: pytest.MonkeyPatch) -> None:
    """Raise at the n-th removal or publication of a file."""
    num_changes = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*arguments: Any, **options: Any) -> Any:
            nonlocal num_changes
            num_changes += 1
            if num_changes == number:
                raise KeyboardInterrupt
            return change(*arguments, **options)

        return stopped

    from vita_data.storage import files as storage

    published, removed = counted(storage.publish), counted(storage.remove)
    for module in ("vita_data.storage.files", "vita_data.shards.writer"):
        patch.setattr(f"{module}.publish", published)
    for module in ("stored_plan", "run", "finish", "unit"):
        patch.setattr(f"vita_data.builder.{module}.remove", removed)


def test_a_limited_plan_of_an_earlier_version_is_begun_anew(
    raw: Path, undisturbed: Path, limited: Path, tmp_path: Path
) -> None:
    """It grouped the first parts alone, and its records do not say where the limit ended."""
    shutil.copytree(limited, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "libero" / ".build" / "plan.json"
    plan = json.loads(path.read_text())
    del plan["num_units"], plan["sha256"]
    path.write_text(json.dumps({**plan, "units": plan["units"][:2], "digest": "0" * 64}))
    with pytest.raises(RequestError, match="smaller --limit 2 would remove some"):
        build(request("libero", raw, tmp_path, limit=2))

    assert units_built(raw, tmp_path) == list(range(8))
    assert contents(tmp_path) == contents(undisturbed)


def test_a_plan_of_an_earlier_version_goes_on_although_it_knew_fewer_settings(
    raw: Path, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "libero" / ".build" / "plan.json"
    plan = json.loads(path.read_text())
    del plan["fingerprint"]["settings"]["tasks"], plan["sha256"]
    path.write_text(json.dumps(plan))
    assert build(request("libero", raw, tmp_path)).state is BuildState.ALREADY_DONE
    asked = request("libero", raw, tmp_path)
    other = request("libero", raw, tmp_path, settings=type(asked.settings)(unit_bytes=1, suites=("libero_90",)))
    with pytest.raises(RequestError, match=r"but this build asks for --set suites=libero_90;"):
        build(other)
