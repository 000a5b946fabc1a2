"""Training runs on a page: curves, shares, previews, the latent report."""
