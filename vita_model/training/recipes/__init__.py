"""What a run is: `Recipe`, its checks, presets, and `--set`."""
