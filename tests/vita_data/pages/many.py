"""A built source of many clips, made at once from one clip of toy images: what a viewer must open quickly."""

from dataclasses import replace
from pathlib import Path

from tests.vita_data.pages.conftest import FINGERPRINT, make_clip, make_info
from vita_data.builder.finish import finish
from vita_data.builder.records import EpisodeRow, UnitRecord
from vita_data.shards.writer import ShardSummary, ShardWriter
from vita_data.types import CameraRole, EpisodeOutcome, Instruction, Split

VERBS, THINGS = ("lift", "push", "turn", "open"), ("cup", "drawer", "lever", "carrot", "pot")


def write_many(folder: Path, num_clips: int, *, clips_per_shard: int = 1000) -> None:
    """Write clips with two images each; their instructions, lengths and episodes differ."""
    first = make_clip(folder.name, 0, split=Split.TRAIN, with_action=True)
    images = first.frames[CameraRole.PRIMARY][:2]
    rows: list[EpisodeRow] = []
    shards: list[tuple[Split, ShardSummary]] = []
    for start in range(0, num_clips, clips_per_shard):
        path = folder / "train" / f"{folder.name}-train-{start // clips_per_shard:06d}.tar"
        with ShardWriter(path) as writer:
            for number in range(start, min(start + clips_per_shard, num_clips)):
                words = f"{VERBS[number % 4]} the {THINGS[number % 5]} number {number}"
                text = Instruction(text=words, origin="human")
                clip = replace(
                    first, key=f"{folder.name}-{number:016x}", episode=f"episode {number:06d}", instruction=text,
                    instructions=(text,), hz=5.0 + number % 20, frames={CameraRole.PRIMARY: images},
                )  # fmt: skip
                writer.add(clip)
                rows.append(
                    EpisodeRow(
                        id=clip.episode, part="a", outcome=EpisodeOutcome.OK, clip=clip.key, split=Split.TRAIN,
                        modality=clip.modality, embodiment="widowx", release="v1", num_clips=1,
                        num_steps=clip.num_steps, num_frames=2,
                    )
                )  # fmt: skip
        assert writer.summary is not None
        shards.append((Split.TRAIN, writer.summary))
    rows += [
        EpisodeRow(id=f"lost {n}", part="a", outcome=EpisodeOutcome.DROPPED, reason="short")
        for n in range(num_clips // 10)
    ]
    record = UnitRecord(number=0, plan="a", episodes=tuple(rows), shards=tuple(shards))
    finish(folder, make_info(folder.name, with_action=True), FINGERPRINT, [record])
