"""Material for toy raw trees: pictures of scenes with a readable mark, and arm trajectories."""

from vita_data.formats.toy.arm import ToyArm, toy_arm
from vita_data.formats.toy.frame import toy_frame, toy_frames, toy_jpeg, toy_road_frame
from vita_data.formats.toy.mark import ToyMark, read_toy_frame

__all__ = ["ToyArm", "ToyMark", "read_toy_frame", "toy_arm", "toy_frame", "toy_frames", "toy_jpeg", "toy_road_frame"]
