"""The VITA network and its three training stages: batches of `vita_data.loader` in, checkpoints out."""

from vita_model._compat import define_missing_ops

# Before any module here imports transformers, which imports torchvision where that is installed.
define_missing_ops()
