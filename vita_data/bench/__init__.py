"""Measurements of this project, each beside its physical limit and what a user would pick instead, in one run."""
