"""Which windows make up batch k: requests, exact shares, permutations, the plan, the sampler, resuming.

A manifest and a request come in, a `Plan` and batch members go out; everything is arithmetic.
"""
