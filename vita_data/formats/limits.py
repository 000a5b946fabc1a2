"""The greatest sizes and numbers that raw files may declare, one for each kind of declaration.

Raw data comes from strangers: a number in a file is compared with its limit, and a size also with the bytes that the
file really has, before memory is asked for. Each limit is far above what known datasets hold. A file that exceeds one
is refused in words, as damaged.
"""

MAX_STORED_JPEG_BYTES = 1 << 20
"""A JPEG that is stored as it came, 256x256; pixels take at most 300 kB, and the rest may be comments without end."""
MAX_TEXT_FILE_BYTES = 1 << 28
"""A JSON, CSV or index file, which is read as a whole."""
MAX_JSON_DEPTH = 64
"""Lists and objects inside one another, as in JSON."""
MAX_INTEGER_DIGITS = 308
"""Digits of one integer; greater ones do not fit a float64."""
MAX_PICKLED_VALUES = 1 << 21
"""Values of a pickle, each as often as it occurs; CALVIN's largest index has about 120,000."""
MAX_PATH_CHARS = 1000
"""A path that is made from a description."""
MAX_ARRAY_BYTES = 1 << 28
"""An array that is read as a whole: a member of an archive, or a dataset of an HDF5 file."""
MAX_CHUNK_BYTES = 1 << 28
"""A chunk of an HDF5 dataset, which is decompressed as a whole."""
MAX_UNWRITTEN_ROWS = 1_000_000
"""Rows of an HDF5 dataset that may be declared without being stored."""
MAX_ATTRIBUTE_BYTES = 1 << 24
"""An attribute of an HDF5 object."""
MAX_HDF5_LINKS = 16
"""Links of an HDF5 file that lead to one another, as in the library itself."""
MAX_RECORD_BYTES = 1 << 29
"""A record of a TFRecord file."""
MAX_RECORD_FIELDS = 1 << 21
"""Fields of one message of a record: features, or items of a list."""
MAX_VARINT_BYTES = 1 << 24
"""A list of integers of a record as stored; decoding takes about 50 times as much memory."""
MAX_SHARD_RECORDS = 10_000_000
"""Records that a description may list for one file."""
MAX_SHARDS = 100_000
"""Files that a description may list for one split."""
MAX_LOST_RECORDS = 100_000
"""Records that a description may list beyond those that the file's bytes can hold; each becomes a failed episode."""
MAX_INVALID_ENTRIES = 10_000
"""Entries of LeRobot's list of episodes that may be invalid if they are most of it; each becomes a failed episode."""
MAX_URDF_BYTES = 1 << 22
"""A URDF file; that of a humanoid has about 100,000 bytes."""
MAX_URDF_JOINTS = 64
"""Joints between two links of a URDF file."""
