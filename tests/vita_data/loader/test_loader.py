"""Batches hold the right pixels and numbers; damage is never a sample; the state is what the consumer has seen."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from vita_data.errors import RequestError, ShardError
from vita_data.formats.toy import read_toy_frame
from vita_data.loader import (
    Damage,
    InstructionChoice,
    LoaderOptions,
    MixedModalitySampler,
    Plan,
    PlanChange,
    make_loader,
)
from vita_data.types import Batch, CameraRole, Manifest, Modality, Starts, WindowSpec

ACTION14_STEP = 7
"""Where the right arm's dx, the column that holds the native step, lies in a batch."""


@pytest.fixture(scope="session")
def plan_for(shards: Path, manifest: Callable[..., Manifest]) -> Callable[..., Plan]:
    def make(stage: str, batch_size: int = 8, **options) -> Plan:
        weights = {"arm": 1, "hand": 1} if stage == "finetune" else {"arm": 1, "hand": 1, "human": 1}
        return Plan.from_manifest(manifest(**weights), shards=shards, stage=stage, batch_size=batch_size, **options)

    return make


def batches(plan: Plan, count: int, *, rank: int = 0, world_size: int = 1, **options) -> list[Batch]:
    with make_loader(plan, rank=rank, world_size=world_size, options=LoaderOptions(threads=2, **options)) as loader:
        return [next(loader) for _ in range(count)]


def first(plan: Plan, modality: Modality) -> tuple[int, Batch]:
    for k, batch in enumerate(batches(plan, 6)):
        if batch.modality is modality:
            return k, batch
    raise AssertionError(f"no {modality} batch in six")


def test_frames_are_the_windows_present_and_future(plan_for) -> None:
    plan = plan_for("warmup")
    k, batch = first(plan, Modality.VIDEO)
    windows = MixedModalitySampler(plan).batch(k).windows

    assert batch.images.shape == (8, 1, 256, 256, 3)
    assert batch.images.dtype == batch.future.dtype == torch.uint8
    assert batch.action is batch.state is batch.action_mask is batch.state_mask is None
    assert batch.image_mask.all()
    assert batch.future_mask.all()
    assert batch.key == [window.key for window in windows]
    for slot, window in enumerate(windows):
        now, later = (read_toy_frame(images[slot, 0].numpy()) for images in (batch.images, batch.future))
        assert (now.step, now.episode) == (window.step, int(window.key.split("-")[1], 16))
        assert later.step == window.step + 5
        assert now.upright
        assert now.rgb


def test_action_batches_hold_normalized_chunks_and_no_image(plan_for) -> None:
    plan = plan_for("warmup", windows=WindowSpec(starts=Starts.KEYFRAMES, horizon=6, futures=1))
    k, batch = first(plan, Modality.ACTION)
    windows = MixedModalitySampler(plan).batch(k).windows

    assert batch.images is batch.future is batch.image_mask is batch.future_mask is None
    assert batch.action.shape == (8, 6, 14)
    assert not batch.action_mask[..., :7].any()
    for slot, window in enumerate(windows):
        stats = plan.statistics[window.source]["source"][window.source]["action"]
        low, high = stats["q01"][16], stats["q99"][16]
        real = batch.action_mask[slot, :, ACTION14_STEP].numpy()
        steps = (batch.action[slot, :, ACTION14_STEP].numpy() + 1) / 2 * (high - low) + low
        np.testing.assert_allclose(steps[real], (window.step + np.arange(6))[real], atol=1e-3)
        gripper = (window.step + np.arange(6)) % 2 * 2.0 - 1
        assert batch.action[slot, real, 13].tolist() == gripper[real].tolist()
        assert batch.state_mask[slot].nonzero().flatten().tolist() == list(range(24, 34))


def test_masked_entries_are_zero(plan_for) -> None:
    for batch in [*batches(plan_for("cotrain"), 6), *batches(plan_for("finetune"), 2)]:
        for values, mask in (
            (batch.images, batch.image_mask), (batch.future, batch.future_mask), (batch.action, batch.action_mask),
            (batch.state, batch.state_mask),
        ):  # fmt: skip
            if values is not None:
                assert not values[~mask].any()


def test_cotrain_masks_futures_past_the_end(plan_for) -> None:
    _, batch = first(plan_for("cotrain"), Modality.PAIRED)

    assert batch.future.shape == (8, 12, 256, 256, 3)
    assert not batch.future_mask[:, -1].any()
    assert batch.future_mask.any()
    assert batch.action.shape == (8, 12, 14)


def test_finetune_gives_the_wrist_where_there_is_one(plan_for) -> None:
    batch = batches(plan_for("finetune", batch_size=16), 1)[0]
    by_source = {source: batch.image_mask[slot].tolist() for slot, source in enumerate(batch.source)}

    assert batch.future.shape == (16, 0, 256, 256, 3)
    assert by_source == {"arm": [True, False], "hand": [True, True]}
    slot = batch.source.index("hand")
    marks = [read_toy_frame(batch.images[slot, view].numpy()) for view in (0, 1)]
    assert [mark.camera for mark in marks] == [0, list(CameraRole).index(CameraRole.WRIST_RIGHT)]
    assert marks[0].step == marks[1].step


def test_ranks_make_up_the_whole_batch(plan_for) -> None:
    plan = plan_for("cotrain")
    whole = batches(plan, 3)
    halves = [batches(plan, 3, rank=rank, world_size=2) for rank in (0, 1)]
    for k, batch in enumerate(whole):
        assert batch.key == halves[0][k].key + halves[1][k].key
        for name in ("images", "future", "action", "state"):
            one = getattr(batch, name)
            parts = [getattr(half[k], name) for half in halves]
            assert one is None if parts[0] is None else torch.equal(one, torch.cat(parts))


def test_a_world_size_that_does_not_divide_the_batch_is_refused(plan_for) -> None:
    with pytest.raises(RequestError, match="world size 3 does not divide the video batch of 8"):
        make_loader(plan_for("warmup"), world_size=3)


def test_the_state_names_the_first_batch_not_seen_whatever_was_read_ahead(plan_for) -> None:
    plan = plan_for("warmup")
    with make_loader(plan, options=LoaderOptions(threads=2, ahead=3)) as loader:
        for _ in range(4):
            next(loader)
        state = json.loads(json.dumps(loader.state_dict()))
        rest = [next(loader).key for _ in range(3)]
    with make_loader(plan, rank=0, options=LoaderOptions(threads=1, ahead=1)) as other:
        next(other)
        other.load_state_dict(state)
        assert [next(other).key for _ in range(3)] == rest
    assert state["step"] == 4


def test_a_changed_plan_is_refused_or_followed(plan_for) -> None:
    with make_loader(plan_for("warmup"), options=LoaderOptions(threads=1)) as loader:
        next(loader)
        state = loader.state_dict()
    with make_loader(plan_for("warmup", seed=3), options=LoaderOptions(threads=1)) as other:
        with pytest.raises(RequestError, match="seed 0 -> 3"):
            other.load_state_dict(state)
        for wrong in ({"step": 1}, None):
            with pytest.raises(RequestError, match="expected a state that a loader's `state_dict` gave"):
                other.load_state_dict(wrong)
        other.load_state_dict(state, plan_change=PlanChange.ALLOW)
        assert other.state_dict()["step"] == 1
        next(other)


@pytest.fixture
def damaged(tmp_path: Path, make_clip, save, manifest: Callable[..., Manifest]) -> Callable[[str], Plan]:
    """A source whose clip 0 has one flipped bit in a member."""

    def damage(member: str) -> Plan:
        folder = save(tmp_path, [make_clip("arm", n, steps=10) for n in range(2)])
        plan = Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=4)
        view = plan.pools[Modality.PAIRED][0].pool.opened.views[0]
        refs = {"primary.000000.jpg": view.frame_ref(0), "action.npy": view.member(0, "action")}
        tar = next((folder / "train").glob("*.tar"))
        data = bytearray(tar.read_bytes())
        data[refs[member].offset + refs[member].size // 2] ^= 4
        tar.write_bytes(data)
        return plan

    return damage


@pytest.mark.parametrize("member", ["primary.000000.jpg", "action.npy"])
def test_a_flipped_bit_ends_the_run_naming_shard_clip_and_member(damaged, member: str) -> None:
    pattern = rf"shard .*arm-train-000000\.tar, clip arm-0{{16}}, member {member}"
    with make_loader(damaged(member), options=LoaderOptions(threads=2)) as loader:
        with pytest.raises(ShardError, match=pattern):
            next(loader)
        with pytest.raises(StopIteration):
            next(loader)


def test_substitutes_are_the_next_windows_and_are_counted(damaged, caplog: pytest.LogCaptureFixture) -> None:
    plan = damaged("primary.000000.jpg")
    with make_loader(plan, options=LoaderOptions(threads=2, ahead=1, damage=Damage.SUBSTITUTE)) as loader:
        batch = next(loader)
        count = loader.substituted["arm"]
    again = batches(plan, 1, ahead=1, damage=Damage.SUBSTITUTE)[0]
    windows = MixedModalitySampler(plan).batch(0).windows
    steps = [read_toy_frame(image.numpy()).step for image in batch.images[:, 0]]
    hit = [window.key == "arm-" + "0" * 16 and window.step == 0 for window in windows]

    assert count == sum(hit) > 0
    assert "primary.000000.jpg" in caplog.text
    assert (batch.key[hit.index(True)], steps[hit.index(True)]) == ("arm-" + "0" * 16, 5)
    assert torch.equal(batch.images, again.images)


def test_bytes_that_are_no_image_are_refused_by_name(tmp_path: Path, make_clip, save, manifest, monkeypatch) -> None:
    clips = [make_clip("arm", 0, steps=10)]
    monkeypatch.setattr(type(make_clip), "jpeg", lambda *_: b"no jpeg")
    clips.append(make_clip("arm", 1, steps=10))
    save(tmp_path, clips)
    plan = Plan.from_manifest(manifest(arm=1), shards=tmp_path, stage="finetune", batch_size=8)

    with (
        make_loader(plan, options=LoaderOptions(threads=2)) as loader,
        pytest.raises(ShardError, match=r"clip arm-0{15}1, member primary"),
    ):
        next(loader)


def test_instructions_are_the_main_one_or_any_drawn_the_same_each_time(plan_for) -> None:
    plan = plan_for("finetune", batch_size=32)
    main = batches(plan, 1)[0].instruction
    drawn = [batches(plan, 1, instruction=InstructionChoice.ANY)[0].instruction for _ in range(2)]

    assert set(main) == {"pick up the cup"}
    assert set(drawn[0]) == {"pick up the cup", "do the other thing"}
    assert drawn[0] == drawn[1]


def test_only_the_members_that_are_needed_are_read(shards: Path, tmp_path: Path, manifest) -> None:
    copy = Path(shutil.copytree(shards / "hand", tmp_path / "hand"))
    plan = Plan.from_manifest(manifest(hand=1), shards=tmp_path, stage="warmup", batch_size=8)
    tar = next((copy / "train").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    view = plan.pools[Modality.VIDEO][0].pool.opened.views[0]
    for clip in range(len(view)):
        for frame in range(view.num_frames_before(clip), view.num_frames_before(clip + 1)):
            if "wrist" in view.frame_name(frame):
                data[view.frame_ref(frame).offset] ^= 1
    tar.write_bytes(data)

    assert len(batches(plan, 4)) == 4


def test_a_training_process_imports_neither_tensorflow_nor_a_video_decoder(shards: Path) -> None:
    code = (
        "import sys, vita_model.cli, vita_model.training.train\n"
        "from vita_data.loader import LoaderOptions, Plan, make_loader; from vita_data.types import *\n"
        "m = Manifest(name='t', path='t', entries=(MixtureEntry(source='arm', weight=1),))\n"
        f"p = Plan.from_manifest(m, shards={str(shards)!r}, stage='finetune', batch_size=2)\n"
        "with make_loader(p, options=LoaderOptions(threads=1)) as loader: next(loader)\n"
        "print([name for name in ('tensorflow', 'av', 'cv2', 'tensorflow_datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_batch_that_is_kept_is_never_written_again(plan_for) -> None:
    with make_loader(plan_for("warmup"), options=LoaderOptions(threads=3, ahead=3)) as loader:
        taken = [next(loader) for _ in range(4)]
        batch = next(one for one in taken if one.modality is Modality.VIDEO)
        held = [batch.images[2:, 0, ::2].numpy(), batch.future, batch.image_mask[1:]]
        before = [np.asarray(one).copy() for one in held]
        del taken, batch
        for _ in range(30):
            next(loader)
        assert all(np.array_equal(np.asarray(one), kept) for one, kept in zip(held, before, strict=True))


def test_memory_of_batches_that_are_dropped_is_used_again(plan_for) -> None:
    used: dict[str, set[int]] = {"images": set(), "action": set()}
    with make_loader(plan_for("warmup"), options=LoaderOptions(threads=3, ahead=3)) as loader:
        for _ in range(50):
            batch = next(loader)
            for name, places in used.items():
                if (tensor := getattr(batch, name)) is not None:
                    places.add(tensor.data_ptr())
    # Those under way, the one in hand, and `future` and `images` in turn.
    assert all(2 <= len(places) <= 2 * (3 + 1) for places in used.values())


def test_two_hundred_batches_need_no_more_memory_than_the_first(plan_for) -> None:
    def private_kb() -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1])

    with make_loader(plan_for("cotrain"), options=LoaderOptions(threads=2)) as loader:
        for _ in range(40):
            next(loader)
        before_kb = private_kb()
        for _ in range(200):
            next(loader)
        grown_kb = private_kb() - before_kb
    assert grown_kb < 6 << 10


def test_a_result_that_comes_at_the_timeout_of_the_wait_is_taken(plan_for, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Future):
        def result(self, timeout: float | None = None) -> object:
            if timeout is None:
                return super().result()
            super().result(10)
            raise TimeoutError

    monkeypatch.setattr("vita_data.loader.store.daemon_pool.Future", Late)
    assert len(batches(plan_for("warmup"), 3)) == 3
