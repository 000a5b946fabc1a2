"""Where the bytes of shards come from: local disks at once, object stores fetched ahead and cached.

Batch members go in, their bytes come out.
"""
