"""Which windows make up batch k: requests, exact shares, permutations, the plan, the sampler, resuming.

A manifest and a request go in, a `Plan` and batch members come out; all of it is arithmetic.
"""
