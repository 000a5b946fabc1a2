"""RLDS: tfrecord or ArrayRecord files with their `features.json`, as tensorflow-datasets writes them.

A folder of a raw tree comes in; decoded steps go out, one record at a time, without TensorFlow.
"""
