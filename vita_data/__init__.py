"""Builds raw human and robot datasets into normalized shards and loads them as batches; does not import torch."""

__version__ = "0.1.0"
SCHEMA_VERSION = 1
