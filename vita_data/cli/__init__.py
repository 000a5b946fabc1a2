"""The `vita-data` command, one module for each group of verbs.

Arguments come in; the packages below read and write raw trees, shards and pages.
"""
