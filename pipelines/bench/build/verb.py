"""The contests of `vita-bench build`: each step from raw data to shards, compared with its lower bound."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from pipelines.bench.build import bare_files, bare_video, decord_video, ours, peers
from pipelines.bench.build.arrays import write_demo_tree, write_npz_tree
from pipelines.bench.build.measure import Clock, Contest, Way
from pipelines.bench.build.records import write_record_tree
from pipelines.bench.build.sizes import Sizes
from pipelines.bench.build.videos import clip_specs, copy_clip_tree, long_video_spec, write_clip_tree, write_long_video
from pipelines.bench.build.workload import Workload, prepare
from vita_data.normalize import FrameSelection

_NUM_UNITS = 64
"""Units of the tree that two workers build. With enough units, no worker has to wait long for the last one."""
_KEYFRAMES, _ALL = FrameSelection.KEYFRAMES, FrameSelection.ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    """All generated workloads."""

    long: Workload
    clips: Workload
    many_clips: Workload
    records: Workload
    demos: Workload
    npz: Workload

    def all(self) -> tuple[Workload, ...]:
        """List all workloads."""
        return self.long, self.clips, self.many_clips, self.records, self.demos, self.npz


def prepare_workloads(base: Path, sizes: Sizes) -> Workloads:
    """Generate the workloads that do not exist under `base`."""
    long, specs = long_video_spec(sizes), clip_specs(sizes)
    clips = prepare(base, "clips", specs, partial(write_clip_tree, specs=specs))
    return Workloads(
        long=prepare(base, "long-video", long, partial(write_long_video, spec=long)),
        clips=clips,
        many_clips=prepare(
            base, "many-clips", (specs, sizes.num_copies), partial(_write_copies, clips, sizes.num_copies)
        ),
        records=prepare(base, "rlds", sizes.num_records, partial(write_record_tree, num_records=sizes.num_records)),
        demos=prepare(base, "hdf5", sizes.num_demos, partial(write_demo_tree, num_demos=sizes.num_demos)),
        npz=prepare(base, "npz", sizes.num_npz, partial(write_npz_tree, num_frames=sizes.num_npz)),
    )


def contests(workloads: Workloads, sizes: Sizes, scratch: Path) -> Iterator[Contest]:
    """Yield the contests; their output in `scratch` is removed after each run."""
    for what, workload, keyframe_target in (
        ("1080p H.264 (Ego4D-like)", workloads.long, 1.8),
        ("short VP9 clips (SSv2-like)", workloads.clips, None),
    ):
        yield _all_frames(what, workload)
        yield _keyframes(what, workload, target=keyframe_target)
        if decord_video.has_decord():
            yield from _beside_decord(what, workload)
    yield _records(workloads.records, scratch)
    yield _demos(workloads.demos, scratch)
    yield _npz(workloads.npz)
    yield _two_workers(workloads.many_clips, scratch)
    yield _against_peers(workloads.clips, sizes.num_peer_clips, scratch)


def memory_runs(workloads: Workloads, scratch: Path) -> list[tuple[str, Callable[[], object]]]:
    """List a function per workload for one worker; all are picklable."""
    builds = (("ssv2", workloads.clips), ("bridge", workloads.records), ("libero", workloads.demos))
    runs: list[tuple[str, Callable[[], object]]] = [
        ("1080p H.264, all frames read", partial(ours.read_all, _videos(workloads.long)))
    ]
    for source, workload in (*builds, ("calvin", workloads.npz)):
        task = ours.BuildTask(workload=workload, source=source, out=scratch / f"peak-{source}", frames=_ALL)
        runs.append((f"{source}, all frames built", partial(ours.build_tree, task)))
    return runs


def _videos(workload: Workload) -> list[str]:
    return sorted(str(path) for path in workload.raw.rglob("*") if path.suffix in (".mp4", ".webm"))


def _write_copies(clips: Workload, num_copies: int, raw: Path) -> int:
    copy_clip_tree(raw, [Path(video) for video in _videos(clips)], num_copies=num_copies)
    return num_copies * clips.num_frames


def _all_frames(what: str, workload: Workload) -> Contest:
    videos = _videos(workload)
    return Contest(
        what=f"{what} to 256x256 RGB, every frame",
        ours=Way(name="ours", run=partial(ours.read_all, videos)),
        others=(Way(name="PyAV decode + swscale", run=partial(bare_video.decode_scaled, videos)),),
        num_units=workload.num_frames,
        unit="frames",
        target=0.9,
    )


def _keyframes(what: str, workload: Workload, *, target: float | None) -> Contest:
    videos = _videos(workload)
    targets = {path: ours.keyframe_numbers(path) for path in videos}
    limit = Way(name="sequential decode, same frames scaled", run=partial(bare_video.decode_all_targets, targets))
    return Contest(
        what=f"{what} to 256x256 RGB, one frame per second",
        ours=Way(name="ours", run=partial(ours.read_keyframes, videos)),
        others=(limit,),
        num_units=workload.num_frames,
        unit="source frames",
        target=target,
        same_pixels=partial(_same_keyframes, targets),
    )


def _beside_decord(what: str, workload: Workload) -> Iterator[Contest]:
    """Compare with decord, which scales by its own means: its pixels are others."""
    videos = _videos(workload)
    targets = {path: ours.keyframe_numbers(path) for path in videos}
    ways = (
        ("every frame", ours.read_all, partial(decord_video.decode_scaled, videos)),
        ("keyframes alone", ours.read_keyframes, partial(decord_video.decode_targets, targets)),
    )
    for wanted, read, theirs in ways:
        yield Contest(
            what=f"{what} to 256x256 RGB, {wanted}, beside another decoder",
            ours=Way(name="ours", run=partial(read, videos)),
            others=(Way(name="decord2, its own scaling", run=theirs),),
            num_units=workload.num_frames,
            unit="source frames",
        )


def _same_keyframes(targets: bare_video.Targets) -> bool:
    return all(
        a is not None and b is not None and np.array_equal(a, b)
        for path, wanted in targets.items()
        for a, b in zip_longest(ours.keyframe_images(path), bare_video.decode_targets(path, wanted))
    )


def _build_way(task: ours.BuildTask, *, counts: Callable[[ours.BuiltTree], int]) -> Way:
    return Way(name="ours", run=lambda: counts(ours.build_tree(task)), tidy=partial(shutil.rmtree, task.out))


def _records(workload: Workload, scratch: Path) -> Contest:
    files, out = sorted(workload.raw.rglob("*.tfrecord-*")), scratch / "records"
    copy = partial(bare_files.copy_records, files, out)
    task = ours.BuildTask(workload=workload, source="bridge", out=scratch / "bridge", frames=_ALL)
    return Contest(
        what="RLDS with 256x256 JPEG (Bridge-like), built with every frame",
        ours=_build_way(task, counts=lambda built: built.num_episodes),
        others=(Way(name="read, verify checksums, copy to disk", run=copy, tidy=out.unlink),),
        num_units=workload.num_mb,
        unit="MB",
        target=0.5,
        turns_a_round=7,
    )


def _demos(workload: Workload, scratch: Path) -> Contest:
    (file,), out = workload.raw.rglob("*.hdf5"), scratch / "frames"
    read = partial(bare_files.encode_demos, file, out)
    task = ours.BuildTask(workload=workload, source="libero", out=scratch / "libero", frames=_ALL)
    limit = Way(name="h5py whole datasets, same resize and JPEG", run=read, tidy=out.unlink)
    return Contest(
        what="HDF5 with gzip (LIBERO-like), built with every frame",
        ours=_build_way(task, counts=lambda built: built.num_frames),
        others=(limit,),
        num_units=workload.num_frames,
        unit="frames",
    )


def _npz(workload: Workload) -> Contest:
    files = sorted(workload.raw.rglob("episode_*.npz"))
    return Contest(
        what="npz (CALVIN-like), vectors and both cameras of every frame",
        ours=Way(name="ours", run=partial(ours.read_members, workload)),
        others=(Way(name="np.load of all members", run=partial(bare_files.load_all_members, files)),),
        num_units=workload.num_frames,
        unit="frames",
    )


def _two_workers(workload: Workload, scratch: Path) -> Contest:
    targets = {path: ours.keyframe_numbers(path) for path in _videos(workload)}
    shares = [{path: targets[path] for path in list(targets)[start::2]} for start in range(2)]
    task = ours.BuildTask(
        workload=workload, source="ssv2", out=scratch / "two", frames=_KEYFRAMES, workers=2, num_units=_NUM_UNITS
    )
    decode = partial(bare_video.decode_in_processes, shares)
    limit = Way(name="two bare decoding processes, same frames scaled", run=decode)
    return Contest(
        what="short VP9 clips, built by two workers, one frame per second",
        ours=_build_way(task, counts=lambda built: built.num_frames),
        others=(limit,),
        num_units=workload.num_frames,
        unit="source frames",
        clock=Clock.WALL,
        target=0.9,
    )


def _against_peers(workload: Workload, num_clips: int, scratch: Path) -> Contest:
    videos = _videos(workload)[:num_clips]
    out, recipe = scratch / "frames", scratch / "recipe"
    task = ours.BuildTask(workload=workload, source="ssv2", out=scratch / "clips", frames=_ALL, limit=num_clips)
    ffmpeg = Way(
        name="one ffmpeg process per clip, same JPEG",
        run=partial(peers.ffmpeg_per_clip, videos, out) if peers.has_ffmpeg() else None,
        tidy=out.unlink,
    )
    lerobot = Way(
        name="LeRobot's recipe: PNG files, then AV1",
        run=partial(peers.lerobot_recipe, videos, recipe) if peers.has_av1_encoder() else None,
        tidy=partial(shutil.rmtree, recipe),
    )
    return Contest(
        what="short VP9 clips, built with every frame",
        ours=_build_way(task, counts=lambda built: built.num_frames),
        others=(ffmpeg, lerobot),
        num_units=bare_video.num_frames(videos),
        unit="frames",
    )
