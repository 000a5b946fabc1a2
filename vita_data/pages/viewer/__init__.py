"""The viewer of built sources, `vita-data view`: a page with scripts that loads its data piece by piece.

Shards come in; numbered files (`files.py`) go out, written to a folder (`export.py`) or served (`server.py`).
`assets/` holds the page, its style and its scripts.
"""
