"""The greatest sizes and numbers that raw files may declare, one for each kind of declaration.

Raw data comes from strangers: a number in a file is compared with its limit before memory is asked for. Each limit is
far above what known datasets hold. A file that exceeds one is refused in words, as damaged.
"""

MAX_ARRAY_BYTES = 1 << 28
"""An array that is read as a whole."""
MAX_JSON_DEPTH = 64
"""Lists and objects inside one another, as in JSON."""
MAX_INTEGER_DIGITS = 308
"""Digits of one integer; greater ones do not fit a float64."""
MAX_PICKLED_VALUES = 1 << 21
"""Values of a pickle, each as often as it occurs; CALVIN's largest index has about 120,000."""
