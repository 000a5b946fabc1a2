"""`vita-bench train`, `latency` and `serve`: speed of training, inference and serving, against hardware limits."""
