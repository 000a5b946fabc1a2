"""Which windows a clip has: where they may start, and which stored rows and images each is cut from.

Indexes of shards go in, numbered windows come out.
"""
