"""The settings of a run: `Recipe`, its checks, its presets, and `--set`."""
