"""Which windows make up batch k: requests, exact shares, permutations, the plan, the sampler, resuming.

A manifest and a request come in, a `Plan` and batch members go out; everything is arithmetic.

The way of a batch: `Plan` (what is mixed) -> `Picks` (which windows) -> `Places` (which clips) -> `BatchMembers` (which
bytes) -> `Batch`.
"""
