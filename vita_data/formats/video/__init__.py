"""Video files: exact frames by time stamp, groups of pictures, rates, truncation, scaling while decoding.

A path and the wanted times come in, RGB frames go out.
"""
