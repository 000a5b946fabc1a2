"""Episode -> Clips, or a Drop with a reason; the same steps in the same order for every dataset."""

from vita_data.normalize.episode import EpisodeDroppedError, FrameSelection, iter_clips, normalize

__all__ = ["EpisodeDroppedError", "FrameSelection", "iter_clips", "normalize"]
