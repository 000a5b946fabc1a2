"""Resolves a manifest against built shards for every stage, for `vita-data mix`."""
