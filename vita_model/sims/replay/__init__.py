"""Replays demonstrations in their simulator: the stored actions beside the raw commands, from the same state.

A built source and its download come in; success and distances of both replays go out. No policy and no images are
needed.
"""
