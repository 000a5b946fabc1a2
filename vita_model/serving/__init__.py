"""A policy behind a websocket that openpi's client speaks to."""
