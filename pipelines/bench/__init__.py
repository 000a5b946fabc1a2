"""`vita-bench`: benchmarks of this repository, compared with hardware limits and with other tools.

Input: names and sizes of workloads. Output: tables. The installed packages do not contain benchmarks.
"""
