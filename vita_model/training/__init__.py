"""The three training stages: recipes, the training loop, checkpoints, evaluation, estimates.

Input: a `Recipe` and batches. Output: a run folder.
"""
