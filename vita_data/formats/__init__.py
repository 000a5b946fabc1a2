"""How bytes lie on disk; nothing here knows a robot or a dataset."""
