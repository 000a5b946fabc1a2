"""The `vita-data` command, one module for each group of verbs.

Arguments go in; raw trees, shards and pages are read and written by the rooms below.
"""
