"""`vita-bench loader`: loading the same windows with our loader, with plain decoding, and with other loaders."""
