"""`vita-bench train`, `latency` and `serve`: steps, answers and requests a second, beside the arithmetic they need."""
