"""Raw trees on a disk or an object store: listing, links, sizes, unread files, and what an unreadable file really is.

The `--raw` address comes in, a `RawTree` goes out.
"""
