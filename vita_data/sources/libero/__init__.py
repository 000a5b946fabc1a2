"""LIBERO: the source, its releases detected by content (HDF5 and RLDS), and the toy tree in their layouts."""
