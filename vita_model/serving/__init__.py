"""`vita-serve`: a policy server for websocket clients of openpi and vla-eval."""
