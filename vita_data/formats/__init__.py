"""Reads and writes file formats; independent of any robot or dataset."""
