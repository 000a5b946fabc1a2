"""RLDS: tfrecord files with their `features.json`, as tensorflow-datasets writes them, read without TensorFlow.

A folder of a raw tree comes in; decoded steps go out, one record at a time.
"""
