"""Converts an Episode to Clips, or to a Drop with a reason, with the same steps for every dataset."""

from vita_data.normalize.episode import EpisodeDroppedError, iter_clips, normalize
from vita_data.types import FrameSelection

__all__ = ["EpisodeDroppedError", "FrameSelection", "iter_clips", "normalize"]
