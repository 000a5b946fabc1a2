"""Files and folders that appear whole or not at all, on a disk or an object store, and locks on folders.

Paths and bytes go in; nothing stands under its final name before it is complete.
"""
