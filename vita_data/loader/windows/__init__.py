"""Which windows a clip has: where they may start, and which stored rows and images each window uses.

Indexes of shards come in, numbered windows go out.
"""
