"""Other loaders for the same pairs: one file per loader, run in a separate environment, never a dependency.

A module has `PACKAGE` (the distribution), `export` (convert the pairs to the loader's format) and `batches` (endless
first frames, future frames and actions, shuffled as in the loader's documentation). Of this project, it only imports
`pairs`. LeRobot is not included: 0.4.4 needs torch < 2.11 and av < 16, and it reads video instead of JPEGs.
"""
