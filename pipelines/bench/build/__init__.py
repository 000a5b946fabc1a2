"""`vita-bench build`: reading raw data, decoding and writing shards, beside bare decoding and peers."""
