"""CALVIN: the source, its language annotations, and the toy tree in its layout."""
