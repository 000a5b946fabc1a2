"""`vita-bench loader`: the same windows from the same bytes through us, through bare decoding, and through peers."""
