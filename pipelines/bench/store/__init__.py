"""Measurements of reading shards from a distant object store, by many ranks."""
