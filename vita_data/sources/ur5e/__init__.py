"""The UR-5e lab set: the source, its recordings, and the toy tree in its layout."""
