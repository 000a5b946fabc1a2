"""What a user would load pairs with instead: one file a peer, run in an environment that has it, never a dependency.

A module has `PACKAGE` (the distribution), `export` (the pairs into the peer's own format) and `batches` (endless,
shuffled as the peer's documentation does it: first frames, future frames, actions). It imports nothing of ours but
`pairs`. LeRobot is not here: 0.4.4 wants torch < 2.11 and av < 16, and it reads video, not these JPEGs.
"""
