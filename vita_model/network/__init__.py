"""The VITA network: features, both auto-encoders, the shared codebook, the backbone.

A `Batch` goes in, a `Prediction` comes out. Nothing here knows of recipes, runs or policies.
"""
