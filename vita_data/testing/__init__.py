"""Checks that a source keeps its promises: the same that the sources of this package are tested with.

The name of a source or the file that defines it comes in; the first broken promise goes out, as an AssertionError.
"""

from vita_data.testing.check import check_source

__all__ = ["check_source"]
