"""Tasks with a scripted expert: recorded demonstrations in, success rates and pictures out; for every simulator."""
