"""Raw trees on a disk or an object store: listing, links, sizes, what was not read, what a file really is.

The `--raw` address goes in, a `RawTree` comes out.
"""
