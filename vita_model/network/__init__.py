"""The VITA network: features, both auto-encoders, the shared codebook, the backbone.

Input: a `Batch`. Output: a `Prediction`. Nothing here depends on recipes, runs or policies.
"""
