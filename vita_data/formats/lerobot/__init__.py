"""LeRobot datasets of format v2.0, v2.1 and v3.0: meta files, parquet tables, videos and images in tables.

A folder of a raw tree comes in; episodes with their columns and cameras go out.
"""
