"""The `vita-eval` command."""
