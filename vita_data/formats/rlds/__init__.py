"""RLDS: tfrecord files with their `features.json`, as tensorflow-datasets writes them, read without TensorFlow.

A folder of a raw tree goes in, decoded steps of one record at a time come out.
"""
