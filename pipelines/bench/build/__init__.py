"""`vita-bench build`: reading raw data, decoding and writing shards, compared with plain decoding and other tools."""
