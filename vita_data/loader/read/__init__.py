"""Members to pixels and numbers: checked reads, decoding into the memory of a batch.

Members and bytes go in, filled arrays come out.
"""
