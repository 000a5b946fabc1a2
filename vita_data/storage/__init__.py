"""Files and folders that appear complete or not at all, on a disk or an object store, and locks on folders.

Paths and bytes come in; nothing gets its final name before it is complete.
"""
