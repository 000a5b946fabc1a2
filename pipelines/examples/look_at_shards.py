# %% [markdown]
# # Look at shards
# Opens a built source, looks at one clip, and finds out why episodes were dropped. The README's first recipe makes
# `shards/`; run this from the same folder, as a script or as a notebook (VS Code, Spyder, PyCharm and `jupytext` read
# the `# %%` marks). Needs `pip install matplotlib`.

# %%
import numpy as np
import polars as pl

import vita_data
from vita_data.types import Reason

try:
    import matplotlib.pyplot as plt
except ModuleNotFoundError:
    raise SystemExit("matplotlib draws the pictures of this script: pip install matplotlib") from None

source = vita_data.open_source("shards/bridge")
print(source)
print(source.clips.select("key", "instruction", "num_steps", "hz", "cameras").head())

# %% [markdown]
# ## One clip
# Actions are 40 columns in metres, radians and gripper opening; `action_mask` tells which ones the source has.
# Column 22 is the right arm's gripper (1 = open); a single arm is the right one. All columns: `vita_data/README.md`,
# "Vectors".

# %%
clip = source[0]
assert clip.action is not None  # a video has none
print(clip, "| columns:", np.flatnonzero(clip.action_mask))

times_s = np.arange(len(clip.action)) / clip.hz
figure, (above, below) = plt.subplots(2, sharex=True, figsize=(9, 5))
above.plot(times_s, 1000 * clip.action[:, 16:19], label=["x", "y", "z"])
above.set(ylabel="motion per step (mm)", title=clip.instruction)
above.legend()
below.step(times_s, clip.action[:, 22])
below.set(ylabel="gripper (1 = open)", xlabel="time (s)")
figure.savefig("clip.png")

# %%
frames, rows = clip.frames("primary"), clip.frame_rows("primary")
shown = np.linspace(0, len(frames) - 1, 6).astype(int)
figure, places = plt.subplots(1, len(shown), figsize=(12, 2.4))
for place, number in zip(places, shown, strict=True):
    place.imshow(frames[number])
    place.set(title=f"{rows[number] / clip.hz:.1f} s", xticks=[], yticks=[])
figure.savefig("frames.png")

# %% [markdown]
# ## Dropped episodes
# `episodes` has a row for each raw episode. `vita-data view shards/bridge --raw raw/bridge --html view` shows the same
# in a browser, with pictures of what was dropped.

# %%
dropped = source.episodes.filter(pl.col("outcome") == "dropped")
print(f"{len(dropped)} of {len(source.episodes)} raw episodes were dropped")
for reason, count in dropped["reason"].value_counts(sort=True).iter_rows():
    print(f"{count}: {reason}, {Reason(reason).name.lower()}")  # more: vita_data/README.md, "Drops"
for episode in dropped.head(3).iter_rows(named=True):
    print(f"{episode['id']}: {episode['reason']} {episode['detail']}")
