"""The VITA network and its three training stages: batches of `vita_data.loader` in, checkpoints out."""

import sys

from vita_model._compat import BeforeTorchvision

# timm and transformers import torchvision where it is installed.
sys.meta_path.insert(0, BeforeTorchvision())
