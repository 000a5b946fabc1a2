"""Reads a LeRobot dataset with lerobot itself; run by a Python that has it, which cannot share our environment.

`frames ROOT BACKEND --out FILE.npz` writes what `LeRobotDataset` gives for each row; `train ROOT BACKEND` takes one
training step of an ACT policy and prints the losses before and after it.
"""

import argparse
import importlib.util
import json
import sys

import numpy as np
import torch

NO_BACKEND = 3
"""The exit code if the environment lacks the decoder."""
_CHUNK = 8


def _has(backend: str) -> bool:
    """Tell whether the environment has what lerobot decodes with."""
    if backend == "torchcodec":
        return importlib.util.find_spec(backend) is not None
    import torchvision

    return hasattr(torchvision.io, "VideoReader")  # with which lerobot reads by PyAV


def _bytes_of(images: torch.Tensor) -> np.ndarray:
    """Return [..., H, W, 3] of 0 to 255 from lerobot's [..., 3, H, W] of 0 to 1."""
    return (images.movedim(-3, -1).numpy() * 255).round().astype(np.uint8)


def write_frames(root: str, backend: str, out: str) -> None:
    """Write every row, and for each first and last row of an episode the images of its neighbours too."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    rows = LeRobotDataset("own/export", root=root, video_backend=backend)
    cameras = list(rows.meta.camera_keys)
    told = [rows[at] for at in range(len(rows))]
    found = {
        key: np.stack([row[key].numpy() for row in told])
        for key in ("action", "observation.state", "timestamp", "frame_index", "episode_index", "index")
    }
    found["task"] = np.array([row["task"] for row in told])
    found |= {key: np.stack([_bytes_of(row[key]) for row in told]) for key in cameras}

    episode = found["episode_index"]
    ends = np.flatnonzero((np.diff(episode, prepend=-1) != 0) | (np.diff(episode, append=-1) != 0))
    around = {key: [-1 / rows.fps, 0.0, 1 / rows.fps] for key in cameras}
    windows = LeRobotDataset("own/export", root=root, video_backend=backend, delta_timestamps=around)
    near = [windows[int(at)] for at in ends]
    found |= {"ends": ends, "fps": np.array(rows.fps), "tolerance_s": np.array(rows.tolerance_s)}
    for key in cameras:
        found[f"near {key}"] = np.stack([_bytes_of(row[key]) for row in near])
        found[f"pad {key}"] = np.stack([row[f"{key}_is_pad"].numpy() for row in near])
    np.savez(out, **found)


def train(root: str, backend: str) -> None:
    """Train a small ACT policy on one batch, and print the losses before and after the step."""
    from lerobot.configs.types import FeatureType
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.datasets.utils import dataset_to_policy_features
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.act.processor_act import make_act_pre_post_processors

    torch.manual_seed(0)
    plain = LeRobotDataset("own/export", root=root, video_backend=backend)
    chunk = {"action": [step / plain.fps for step in range(_CHUNK)]}
    rows = LeRobotDataset("own/export", root=root, video_backend=backend, delta_timestamps=chunk)
    features = dataset_to_policy_features(rows.meta.features)
    outputs = {key: one for key, one in features.items() if one.type is FeatureType.ACTION}
    config = ACTConfig(
        input_features={key: one for key, one in features.items() if key not in outputs}, output_features=outputs,
        chunk_size=_CHUNK, n_action_steps=_CHUNK, dim_model=64, n_heads=4, dim_feedforward=128, n_encoder_layers=1,
        n_vae_encoder_layers=1, pretrained_backbone_weights=None, device="cpu", push_to_hub=False, dropout=0.0,
    )  # fmt: skip
    policy = ACTPolicy(config)
    policy.train()
    prepare, _ = make_act_pre_post_processors(config, dataset_stats=rows.meta.stats)
    batch = prepare(next(iter(torch.utils.data.DataLoader(rows, batch_size=4))))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        torch.manual_seed(1)  # the same noise of the encoder, so that only the step changes the loss
        loss, _ = policy.forward(batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shapes = {key: list(one.shape) for key, one in features.items()}
    sys.stdout.write(json.dumps({"losses": losses, "features": shapes, "outputs": list(outputs)}) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("frames", "train"))
    parser.add_argument("root")
    parser.add_argument("backend")
    parser.add_argument("--out")
    asked = parser.parse_args()
    if not _has(asked.backend):
        return NO_BACKEND
    if asked.task == "frames":
        write_frames(asked.root, asked.backend, asked.out)
    else:
        train(asked.root, asked.backend)
    return 0


if __name__ == "__main__":
    sys.exit(main())
