"""Which episodes to train on: a table of all raw episodes, conditions on its columns, and lists of ids.

Built sources come in; polars frames and sets of episode ids go out. Nothing here changes or copies a built source.
"""
