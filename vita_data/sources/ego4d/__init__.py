"""Ego4D: the source, its annotation files in both releases, and the toy tree in its layout."""
