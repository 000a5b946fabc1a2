"""Evaluation of a run: errors compared with trivial predictors, the latent report, previews."""
