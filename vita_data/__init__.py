"""Raw human and robot datasets to normalized shards to batches; imports no torch."""

__version__ = "0.1.0"
SCHEMA_VERSION = 1
