"""LeRobot datasets: meta files, parquet tables and videos.

A folder of a raw tree goes in, episodes with their columns and videos come out.
"""
