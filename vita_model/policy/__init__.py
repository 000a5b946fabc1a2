"""A trained model as a policy: observations in, canonical actions out, in process or behind a websocket."""
