"""LeRobot datasets: meta files, parquet tables and videos.

A folder of a raw tree comes in; episodes with their columns and videos go out.
"""
