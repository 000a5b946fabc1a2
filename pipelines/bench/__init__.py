"""Measures this repository beside what the machine can do and beside what people use instead: `vita-bench`.

Names of workloads and sizes go in, tables go out. Nothing of it is part of the installed packages.
"""
