"""Checkpoints: components, state, resuming a run, and starting from an earlier run."""
