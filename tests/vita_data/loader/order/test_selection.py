"""Selections by condition and by list: with its complement each is the whole, and only its source's order changes."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vita_data.errors import ManifestError, RequestError
from vita_data.loader import MixedModalitySampler, Plan, resume_plan
from vita_data.loader.mixture.report import mix
from vita_data.shards.index import card_bytes
from vita_data.types import Manifest, MixtureEntry, Modality

IDS = tuple(f"episode/{number}" for number in range(7))


def list_episodes(folder: Path) -> None:
    """Add the list of raw episodes to a synthetic source: what is stored, and one drop."""
    rows = [
        row for path in sorted(folder.glob("train/*.arrow")) for row in pa.ipc.open_file(path).read_all().to_pylist()
    ]
    names = ("detail", "part", "clip", "shard", "release", "embodiment")
    made = [
        {"id": row["episode"], "outcome": "ok", "reason": "", "split": "train", "modality": row["modality"],
         "num_steps": row["num_steps"], "num_clips": 1, "num_frames": 1, **dict.fromkeys(names, "")}
        for row in rows
    ]  # fmt: skip
    made.append(made[0] | {"id": "drop", "outcome": "dropped", "reason": "short", "split": "", "num_steps": 0})
    pq.write_table(pa.Table.from_pylist(made), folder / "episodes.parquet")
    card = json.loads((folder / "dataset.json").read_text())
    card.setdefault("sums", {})["episodes.parquet"] = hashlib.sha256(
        (folder / "episodes.parquet").read_bytes()
    ).hexdigest()
    (folder / "dataset.json").write_bytes(card_bytes(card))


@pytest.fixture(scope="module")
def listed_shards(tmp_path_factory: pytest.TempPathFactory, make_clip, save) -> Path:
    root = tmp_path_factory.mktemp("selection")
    list_episodes(save(root, [make_clip("arm", n, steps=20 + 5 * n, task=f"task{n % 2}") for n in range(7)]))
    list_episodes(save(root, [make_clip("hand", n, steps=24) for n in range(3)]))
    return root


def plan_of(shards: Path, **arm: object) -> Plan:
    entries = (MixtureEntry(source="arm", weight=1, **arm), MixtureEntry(source="hand", weight=2))
    manifest = Manifest(name="t", path="t.toml", entries=entries)
    return Plan.from_manifest(manifest, shards=shards, stage="warmup", batch_size=8)


def list_of(folder: Path, *lines: str) -> str:
    path = folder / "bad.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def windows_of(plan: Plan, modality: Modality = Modality.ACTION) -> dict[int, int]:
    """The number of windows of each row of `arm`."""
    pool = plan.pools[modality][0].pool
    counts = [end - start for start, end in zip([0, *pool.ends.tolist()], pool.ends.tolist(), strict=False)]
    return dict(zip(pool.rows.tolist(), counts, strict=True))


@given(chosen=st.sets(st.sampled_from(IDS), min_size=1, max_size=len(IDS) - 1))
@settings(max_examples=25, deadline=None)
def test_a_selection_and_its_complement_are_the_whole(listed_shards: Path, tmp_path_factory, chosen: set[str]) -> None:
    quoted = ", ".join(f"'{id_}'" for id_ in sorted(chosen))
    bad = list_of(tmp_path_factory.mktemp("lists"), *(f"arm\t{id_}" for id_ in chosen))
    whole = windows_of(plan_of(listed_shards))
    kept = windows_of(plan_of(listed_shards, condition=f"id in ({quoted})"))
    rest = windows_of(plan_of(listed_shards, exclude=bad))
    negated = windows_of(plan_of(listed_shards, condition=f"not (id in ({quoted}))"))

    assert {f"episode/{row}" for row in kept} == chosen
    assert not kept.keys() & rest.keys()
    assert kept | rest == whole
    assert rest == negated


def test_exclusion_is_reversible_and_leaves_the_order_of_other_sources_alone(
    listed_shards: Path, tmp_path: Path
) -> None:
    bad = list_of(tmp_path, "arm\tepisode/1", "hand\tepisode/0")
    base, without = plan_of(listed_shards), plan_of(listed_shards, exclude=bad)
    for step in range(30):
        before, after = (MixedModalitySampler(plan).batch(step).windows for plan in (base, without))
        assert [one if one.source == "hand" else None for one in before] == [
            one if one.source == "hand" else None for one in after
        ]
        assert f"arm-{1:016x}" not in {one.key for one in after}
    assert plan_of(listed_shards).hash == base.hash != without.hash
    assert base.pools[Modality.ACTION][0].label == without.pools[Modality.ACTION][0].label == "arm"


def test_a_run_notices_a_changed_selection_and_not_one_without_effect(listed_shards: Path, tmp_path: Path) -> None:
    base = plan_of(listed_shards)
    state = MixedModalitySampler(base).state_dict(5)

    with pytest.raises(RequestError, match=r"another plan; changed: .*source arm: digest .*arm: windows 245 -> 220"):
        resume_plan(plan_of(listed_shards, exclude=list_of(tmp_path, "episode/1")), state)
    for lines in (("drop",), ("arm\tdrop", "hand\tepisode/1"), ("",)):
        same = plan_of(listed_shards, exclude=list_of(tmp_path, *lines))
        assert resume_plan(same, state).hash == base.hash


def test_exclude_comes_after_fraction_so_that_it_never_brings_an_episode_in(
    listed_shards: Path, tmp_path: Path
) -> None:
    half = windows_of(plan_of(listed_shards, fraction=0.5))
    gone = min(half)
    rest = windows_of(plan_of(listed_shards, fraction=0.5, exclude=list_of(tmp_path, f"episode/{gone}")))

    assert half.keys() - rest.keys() == {gone}
    assert rest.keys() < half.keys()


def test_a_condition_names_its_pool_and_the_report_says_what_is_left(listed_shards: Path, tmp_path: Path) -> None:
    entry = MixtureEntry(
        source="arm", weight=1, condition="length_s > 5", exclude=list_of(tmp_path, "episode/6", "episode/0")
    )
    manifest = Manifest(name="t", path="t.toml", entries=(entry,))
    notes = [note for stage in mix(manifest, listed_shards).stages for note in stage.notes]

    assert any("arm: length_s > 5, exclude = bad.txt limits action batches to 4 of 7 clips" in note for note in notes)
    plan = Plan.from_manifest(manifest, shards=listed_shards, stage="warmup", batch_size=8)
    assert plan.pools[Modality.ACTION][0].label == "arm[length_s > 5]"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("episode/0", "episode/9x"), r"bad\.txt, line 2: arm has no episode 'episode/9x'; did you mean 'episode/"),
        (("a", "b"), r"line 1: arm has no episode 'a' \(2 such lines\); `vita-data episodes DIR/arm` lists them"),
        (("hans\tepisode/0",), r"line 1: source 'hans' is not built here; did you mean 'hand'\?"),
        (IDS, r"exclude .*bad\.txt leaves no clip in split train"),
    ],
)
def test_unknown_ids_and_lists_of_everything_are_refused(
    listed_shards: Path, tmp_path: Path, lines: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ManifestError, match=rf"manifest t\.toml: source 'arm': .*{told}"):
        plan_of(listed_shards, exclude=list_of(tmp_path, *lines))


def test_conditions_and_files_that_cannot_be_used_are_refused(listed_shards: Path, tmp_path: Path) -> None:
    for options, told in (
        ({"condition": "lenght_s > 1"}, "where 'lenght_s > 1': column 'lenght_s' does not exist; did you mean 'length"),
        ({"condition": "length_s > 100"}, "selects no clip in split train"),
        ({"exclude": str(tmp_path / "none.txt")}, "none.txt cannot be read as a list of episode ids"),
    ):
        with pytest.raises(ManifestError, match=told):
            plan_of(listed_shards, **options)
