"""The VITA network, its three training stages, and inference: from batches of `vita_data.loader` to policies."""

import sys

from vita_model._compat import BeforeTorchvision

# timm and transformers import torchvision if it is installed.
sys.meta_path.insert(0, BeforeTorchvision())
