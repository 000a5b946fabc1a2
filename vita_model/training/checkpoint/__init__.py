"""What a run leaves and the next one takes: components, state, resume, the start from an earlier run."""
