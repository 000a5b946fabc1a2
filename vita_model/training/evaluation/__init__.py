"""What a run is worth: errors beside trivial predictors, the latent report, previews."""
