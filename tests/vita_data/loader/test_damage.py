"""A flipped bit is never a sample, and a substitute is a whole sample, the same one for any world size."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from vita_data.errors import ShardError, VitaDataError
from vita_data.formats.toy import read_toy_frame
from vita_data.loader import Damage, InstructionChoice, LoaderOptions, MixedModalitySampler, Plan, make_loader
from vita_data.loader.order.members import Member, locate_batch
from vita_data.loader.order.sampler import Picks
from vita_data.loader.read.decode import BatchArrays, WindowReader
from vita_data.loader.read.fill import BatchFill
from vita_data.loader.store.daemon_pool import StallDetector
from vita_data.loader.store.prefetch import LocalMembers
from vita_data.shards.verify import verify
from vita_data.types import Batch, CameraRole, Modality, Stage, Track


def flip(shard: Path, at: int, bit: int = 0) -> None:
    with open(shard, "r+b", buffering=0) as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def flip_in(member: Member) -> None:
    flip(Path(member.view.shard), member.ref.offset + member.ref.size // 2)


def room(plan: Plan) -> BatchArrays:
    """Memory of a batch of one window."""
    views, futures, horizon = len(plan.windows.views), plan.windows.futures, plan.windows.horizon
    return BatchArrays(
        images=np.zeros((1, views, 256, 256, 3), np.uint8), image_mask=np.zeros((1, views), bool),
        future=np.zeros((1, futures, 256, 256, 3), np.uint8), future_mask=np.zeros((1, futures), bool),
        action=np.zeros((1, horizon, 14), np.float32), action_mask=np.zeros((1, horizon, 14), bool),
        state=np.zeros((1, 64), np.float32), state_mask=np.zeros((1, 64), bool),
    )  # fmt: skip


def test_a_bit_flipped_anywhere_in_what_batches_read_is_caught_a_thousand_times_of_a_thousand(
    tmp_path: Path, make_clip, save, manifest
) -> None:
    cameras = (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
    save(tmp_path, [make_clip("arm", n, steps=12, cameras=cameras) for n in range(3)], per_shard=2)
    plan = Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=1)
    sampler, members, rng = MixedModalitySampler(plan), LocalMembers(StallDetector(60)), np.random.default_rng(0)
    arrays, names = room(plan), set()
    pool = plan.pools[Modality.PAIRED][0].pool
    for attempt in range(1000):
        window = np.array([attempt % pool.num_windows])
        cut = locate_batch(sampler, Picks(step=0, modality=Modality.PAIRED, pool=np.zeros(1, np.int64), window=window))
        needed = list(cut.members())
        member = needed[attempt // pool.num_windows % len(needed)]
        at, bit = member.ref.offset + int(rng.integers(member.ref.size)), int(rng.integers(8))
        # What is known of a clip is remembered, so that every try has a reader of its own.
        reader = WindowReader(sampler, damage=Damage.RAISE, instruction=InstructionChoice.MAIN)
        flip(Path(member.view.shard), at, bit)
        where = f"shard {member.view.shard}, clip {member.key}, member {member.member_name}: "
        with pytest.raises(ShardError, match=re.escape(where)):
            BatchFill(reader, arrays, cut, members, first=0).fill([0])
        flip(Path(member.view.shard), at, bit)
        names.add(member.member_name)
    # All is as before: nothing was caught that is not damaged.
    BatchFill(reader, arrays, cut, members, first=0).fill([0])
    assert names > {"clip.json", "action.npy", "state.npy", "primary.000000.jpg", "wrist_right.000005.jpg"}


def test_a_bit_flipped_in_an_index_is_refused_at_open(tmp_path: Path, make_clip, save, manifest) -> None:
    folder = save(tmp_path, [make_clip("arm", n, steps=12) for n in range(2)])
    index, rng = next((folder / "train").glob("*.arrow")), np.random.default_rng(1)
    for at in rng.integers(index.stat().st_size, size=50).tolist():
        flip(index, at, at % 8)
        with pytest.raises(ShardError, match=re.escape(f"index {index}")):
            Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=1)
        flip(index, at, at % 8)
    Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=1)


def test_a_bit_flipped_in_what_no_batch_reads_is_found_by_verify(tmp_path: Path, make_clip, save, manifest) -> None:
    folder = save(tmp_path, [make_clip("arm", n, steps=12) for n in range(2)])
    plan = Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=1)
    view = plan.pools[Modality.PAIRED][0].pool.opened.views[0]
    refs = [view.member(clip, name) for clip in range(2) for name in ("clip", "action", "state")]
    shard, rng = Path(view.shard), np.random.default_rng(2)
    inside = np.zeros(shard.stat().st_size, bool)
    for ref in [*filter(None, refs), *(view.frame_ref(frame) for frame in range(view.num_frames_before(2)))]:
        inside[ref.offset : ref.offset + ref.size] = True
    (no_list,) = verify(folder).problems  # these shards were written without a list of episodes
    assert "episodes.parquet" in no_list
    for at in rng.choice(np.flatnonzero(~inside), size=25).tolist():
        flip(shard, at, at % 8)
        problems = verify(folder).problems
        assert len(problems) > 1
        assert shard.name in problems[0]
        flip(shard, at, at % 8)
    assert verify(folder).problems == (no_list,)


@pytest.fixture
def damaged(tmp_path: Path, make_clip, save, manifest) -> Plan:
    """Two sources; of `arm` a clip lacks its action, another some images, and a third is whole and unlike them."""
    both = (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
    shapes = [{"steps": 14}, {"steps": 14}, {"steps": 9, "cameras": both, "valid": ((0, 6),), "text": "open it"}]
    save(tmp_path, [make_clip("arm", n, **shape) for n, shape in enumerate(shapes)])
    save(tmp_path, [make_clip("hand", n, steps=24) for n in range(3)])
    plan = Plan.from_manifest(
        manifest(arm=1, hand=1), shards=tmp_path, stage="cotrain", batch_size=16, modality_steps={"paired": 1}
    )  # fmt: skip
    view = plan.pools[Modality.PAIRED][0].pool.opened.views[0]
    refs = [view.member(0, "action"), view.frame_ref(view.num_frames_before(1)), view.member(1, "state")]
    for ref in filter(None, refs):
        flip(Path(view.shard), ref.offset + ref.size // 2)
    return plan


TENSORS = ("images", "image_mask", "future", "future_mask", "action", "action_mask", "state", "state_mask")


def taken(
    plan: Plan, count: int, *, rank: int = 0, world_size: int = 1, ahead: int = 2
) -> tuple[list[Batch], dict[str, int]]:
    how = LoaderOptions(threads=3, ahead=ahead, damage=Damage.SUBSTITUTE)
    with make_loader(plan, rank=rank, world_size=world_size, options=how) as loader:
        return [next(loader) for _ in range(count)], loader.substituted


@pytest.mark.parametrize("world_size", [2, 4])
def test_substitutes_and_their_count_are_the_same_for_any_world_size(damaged: Plan, world_size: int, caplog) -> None:
    caplog.set_level(logging.ERROR)
    whole, counts = taken(damaged, 3)
    again, same_counts = taken(damaged, 3, ahead=1)
    parts = [taken(damaged, 3, rank=rank, world_size=world_size) for rank in range(world_size)]

    assert counts == same_counts
    assert counts["arm"] > 0
    assert sum(one["arm"] for _, one in parts) == counts["arm"]
    for k, batch in enumerate(whole):
        assert batch.key == again[k].key == [key for part, _ in parts for key in part[k].key]
        assert batch.instruction == [text for part, _ in parts for text in part[k].instruction]
        for name in TENSORS:
            assert torch.equal(getattr(batch, name), torch.cat([getattr(part[k], name) for part, _ in parts]))


def test_a_substitute_is_whole_and_moves_no_other_slot(damaged: Plan, tmp_path: Path, make_clip, save, caplog) -> None:
    caplog.set_level(logging.ERROR)
    found, counts = taken(damaged, 4)
    sampler = MixedModalitySampler(damaged)
    view = damaged.pools[Modality.PAIRED][0].pool.opened.views[0]
    replaced = 0
    for k, batch in enumerate(found):
        for slot, window in enumerate(sampler.batch(k).windows):
            marks = read_toy_frame(batch.images[slot, 0].numpy())
            assert batch.source[slot] == window.source
            if window.source == "hand" or window.key == view.text("key", 2):
                assert (batch.key[slot], marks.step) == (window.key, window.step)
                assert batch.instruction[slot] == ("pick up the cup" if window.source == "hand" else "open it")
                continue
            # Clips 0 and 1 are damaged wherever a window starts, so that clip 2's first window takes the place.
            replaced += 1
            assert (batch.key[slot], marks.step, marks.episode) == (view.text("key", 2), 0, 2)
            assert batch.instruction[slot] == "open it"
            assert batch.future_mask[slot].tolist() == [True, *[False] * 11]
            assert read_toy_frame(batch.future[slot, 0].numpy()).step == 5
            assert not batch.future[slot, 1:].any()
            assert batch.action_mask[slot].any(dim=1).tolist() == [True] * 6 + [False] * 6
            assert not batch.action[slot, 6:].any()
    assert counts["arm"] >= replaced > 0


def test_a_source_of_which_all_is_damaged_ends_the_run_after_a_hundred_tries(
    damaged: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    view = damaged.pools[Modality.PAIRED][0].pool.opened.views[0]
    ref = view.member(2, "action")
    assert ref is not None
    flip(Path(view.shard), ref.offset)

    with (
        make_loader(damaged, options=LoaderOptions(threads=2, damage=Damage.SUBSTITUTE)) as loader,
        pytest.raises(ShardError, match="source arm: 100 windows in a row are damaged; run `vita-data verify`"),
    ):
        next(loader)
    assert "taking the next window of arm" in caplog.text


@pytest.mark.parametrize("stage", ["warmup", "finetune"])
def test_what_is_masked_changes_no_batch_and_no_statistic(
    tmp_path: Path, make_clip, save, manifest, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns that are not real, rows outside action_valid, behind a gap, beyond a clip's end and of other clips."""
    # A clip refuses to be made with such values; whoever wrote the shards need not have.
    monkeypatch.setattr(Track, "__post_init__", lambda track: None)
    sources = [tmp_path / name for name in ("clean", "padded")]
    for root in sources:
        clips = [
            make_clip("arm", 0, steps=[*range(8), *range(20, 24)], valid=((0, 3), (4, 12))),
            make_clip("arm", 1, steps=6),
        ]
        if root.name == "padded":
            for clip in clips:
                real = np.zeros(clip.num_steps, bool)
                for start, stop in clip.action.valid:
                    real[start:stop] = True
                clip.action.track.values[:, ~clip.action.track.mask] = np.inf
                clip.action.track.values[~real] = np.nan
                clip.state.values[:, ~clip.state.mask] = 3e38
        save(root, clips)
    plans = [
        Plan.from_manifest(
            manifest(arm=1), shards=root, stage=stage, batch_size=8,
            modality_steps={"action": 1} if stage == "warmup" else None,
        )
        for root in sources
    ]  # fmt: skip
    assert plans[0].statistics == plans[1].statistics
    assert plans[0].stage is Stage(stage)
    for one, other in zip(*[taken(plan, 4)[0] for plan in plans], strict=True):
        assert one.key == other.key
        for name in TENSORS:
            first, second = getattr(one, name), getattr(other, name)
            assert first is second is None or torch.equal(first, second)
        assert one.action_mask.any()
        assert not one.action_mask.all(dim=2).any()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("odd"), IndexError("odd"), SystemExit(0)])
@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("store.prefetch.ShardFiles.read_into", "primary"), ("read.decode.simplejpeg.decode_jpeg", "primary"),
        ("read.decode.npy_array", "action"), ("read.decode._facts", "clip.json"),
    ],
)  # fmt: skip
def test_whatever_a_thread_raises_ends_the_run_naming_the_member(
    shards: Path, manifest, monkeypatch: pytest.MonkeyPatch, name: str, member: str, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    plan = Plan.from_manifest(manifest(arm=1), shards=shards, stage="finetune", batch_size=4)
    monkeypatch.setattr(f"vita_data.loader.{name}", fail)
    with (
        make_loader(plan, options=LoaderOptions(threads=2)) as loader,
        pytest.raises(VitaDataError, match=rf"shard .*tar, clip arm-\w+, member {member}"),
    ):
        next(loader)
