"""Reads members with checks and decodes them to pixels and numbers in the memory of a batch.

Members and bytes come in, filled arrays go out.
"""
