"""Where the bytes of shards come from: local disks directly, object stores with prefetching and a cache.

Batch members come in, their bytes go out.
"""
