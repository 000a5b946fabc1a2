"""Video files: exact frames by their time stamps, groups of pictures, rates, ends, scaling while decoding.

A path and the wanted times go in, RGB frames come out.
"""
