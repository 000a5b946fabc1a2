"""The VITA network and its three training stages: batches of `vita_data.loader` in, checkpoints out."""
