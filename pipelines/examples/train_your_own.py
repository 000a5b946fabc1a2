# %% [markdown]
# # Train your own policy on a mixture
# Any PyTorch model can learn from the loader. This one is a small convolutional network that predicts the next actions
# from the picture and the state, in a minute or two on one CPU core. Run it where the README's first recipe made
# `shards/`. Batches hold normalized actions; the last cell converts predictions back to millimetres.

# %%
from itertools import islice

import numpy as np
import torch
from torch import nn

import vita_data

HORIZON, NUM_STEPS = 8, 200
windows = vita_data.WindowSpec(starts=vita_data.Starts.ROWS, horizon=HORIZON, futures=0)


def batches(split: str, batch_size: int = 32) -> vita_data.Loader:
    return vita_data.open_loader(
        {"bridge": 1.0, "libero": 1.0}, shards="shards", stage="finetune", windows=windows, split=split,
        batch_size=batch_size,
    )  # fmt: skip


# %%
class SmallPolicy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [(3, 16), (16, 32), (32, 64), (64, 64)]
        self.see = nn.Sequential(*(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in layers))
        self.act = nn.Sequential(nn.LazyLinear(256), nn.ReLU(), nn.Linear(256, HORIZON * 14))

    def forward(self, batch: vita_data.Batch) -> torch.Tensor:
        assert batch.images is not None and batch.state is not None and batch.state_mask is not None  # not in video
        pixels = batch.images[:, 0].permute(0, 3, 1, 2).float()[..., ::4, ::4] / 255  # uint8 [B, V, 256, 256, 3]
        inputs = torch.cat([self.see(pixels).flatten(1), batch.state * batch.state_mask], dim=1)
        chunk: torch.Tensor = self.act(inputs).unflatten(1, (HORIZON, 14))
        return chunk


def error(batch: vita_data.Batch, predicted: torch.Tensor | float) -> torch.Tensor:
    """Mean squared error over the columns and steps that the batch has; the mean action is about 0."""
    assert batch.action is not None and batch.action_mask is not None
    return ((predicted - batch.action) ** 2)[batch.action_mask].mean()


# %%
torch.manual_seed(0)
policy = SmallPolicy()
with batches("train") as loader:
    policy(next(loader))  # sets the size of the lazy layer
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    for step, batch in enumerate(islice(loader, NUM_STEPS)):  # on a GPU: batch = batch.to("cuda")
        loss = error(batch, policy(batch))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    position = loader.state_dict()  # save it with the weights; load_state_dict continues with the next batch

# %%
with batches("val") as loader, torch.no_grad():
    held_out = list(islice(loader, 4))
    ours = sum(error(batch, policy(batch)).item() for batch in held_out) / 4
    zero = sum(error(batch, 0.0).item() for batch in held_out) / 4
print(f"held-out error {ours:.3f}; always the mean action: {zero:.3f}")

# %%
RIGHT_HAND = slice(7, 10)  # x, y, z; a single arm is the right one
statistics = loader.plan.statistics  # save it with the weights (it is JSON): a policy needs it to answer in metres


def distance_mm(batch: vita_data.Batch) -> float:
    """Mean distance between the predicted and the true motion of the hand in one step."""
    assert batch.action is not None and batch.action_mask is not None
    predicted = vita_data.unnormalize_actions(policy(batch), batch.source, statistics)
    true = vita_data.unnormalize_actions(batch.action, batch.source, statistics)
    apart = np.linalg.norm((predicted - true)[..., RIGHT_HAND], axis=-1)
    return 1000 * float(apart[batch.action_mask[..., RIGHT_HAND.start].numpy()].mean())


print(f"the hand's motion in a step is wrong by {sum(map(distance_mm, held_out)) / 4:.1f} mm")
