"""The three stages: recipes, the one loop, checkpoints, evaluation, estimates.

A `Recipe` and batches go in, a run folder comes out.
"""
