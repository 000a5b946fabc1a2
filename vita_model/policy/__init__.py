"""A trained model as a policy: from observations to canonical actions, in process or over a websocket."""
