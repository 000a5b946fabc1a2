"""HDF5 files: opened without locks, checked for heaps that would hang the library, read row by row.

A path comes in; arrays, and frames as camera streams, go out.
"""
