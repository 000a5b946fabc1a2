"""Writes a built source as a LeRobot dataset of format v3.0.

Clips come in; tables, videos, statistics and `meta/` go out, laid out as lerobot's own code does it.
"""
