"""Opens objects of an HDF5 file only if they lie in it, and refuses sizes that it declares but does not hold.

HDF5 follows links to other files, and reads datasets from other files, wherever the file says: a download could name
any file of this machine.
"""

import math

import h5py

from vita_data.errors import EpisodeError
from vita_data.formats.limits import (
    MAX_ARRAY_BYTES,
    MAX_ATTRIBUTE_BYTES,
    MAX_CHUNK_BYTES,
    MAX_HDF5_LINKS,
    MAX_UNWRITTEN_ROWS,
)

_DEFLATE = 1100
"""More than the greatest ratio of deflate, 1032."""
_ADVICE = "only data inside the file is read; fetch it as one whole file"


def open_inside(group: h5py.Group, key: str, *, name: str) -> object:
    """Open the object with a key, if the file itself holds it.

    Raises:
        KeyError: it is missing, or cannot be opened.
        EpisodeError: it lies in another file, or is larger than any known data or than what is stored of it.
    """
    _require_no_link_outside(group, key, name=name, num_links=0)
    found = group[key]
    if isinstance(found, h5py.Dataset):
        if found.is_virtual or found.external:
            raise EpisodeError(f"{name}: the values of {key!r} lie in another file; {_ADVICE}")
        _require_sizes(found, name=name)
    return found


def require_readable_at_once(dataset: h5py.Dataset, *, name: str) -> None:
    """Refuse to read a whole dataset if it declares more than any series of vectors.

    Raises:
        EpisodeError: it is too large.
    """
    num_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    if num_bytes > MAX_ARRAY_BYTES:
        raise _too_large(dataset, f"{num_bytes} bytes", f"{MAX_ARRAY_BYTES}", name)


def read_attribute(node: h5py.Group, key: str) -> object:
    """Return an attribute; None if it is missing.

    Raises:
        OSError: it declares more bytes than any known attribute.
    """
    if key not in node.attrs:
        return None
    if (num_bytes := node.attrs.get_id(key).get_storage_size()) > MAX_ATTRIBUTE_BYTES:
        raise OSError(f"attribute {key!r} declares {num_bytes} bytes, expected at most {MAX_ATTRIBUTE_BYTES}")
    found: object = node.attrs[key]
    return found


def _require_no_link_outside(group: h5py.Group, key: str, *, name: str, num_links: int) -> None:
    node: object = group.file["/"] if key.startswith("/") else group
    levels = [level for level in key.split("/") if level not in ("", ".")]
    for number, level in enumerate(levels):
        if not isinstance(node, h5py.Group) or num_links > MAX_HDF5_LINKS:
            return  # opening it fails
        links, link = node.id.links, level.encode()
        try:
            kind = links.get_info(link).type
        except (KeyError, RuntimeError):
            return  # missing or damaged: opening it tells
        if kind == h5py.h5l.TYPE_EXTERNAL:
            raise EpisodeError(f"{name}: {key!r} is a link to another file; {_ADVICE}")
        if kind == h5py.h5l.TYPE_SOFT:
            target = links.get_val(link).decode(errors="surrogateescape")
            _require_no_link_outside(node, target, name=name, num_links=num_links + 1)
        if number < len(levels) - 1:
            node = node[level]


def _require_sizes(dataset: h5py.Dataset, *, name: str) -> None:
    """Refuse rows or chunks that are larger than any image, and many rows of which nothing is stored."""
    if dataset.shape is None:
        return
    item = dataset.dtype.itemsize
    row_bytes, num_bytes = math.prod(dataset.shape[1:]) * item, math.prod(dataset.shape) * item
    chunk_bytes = math.prod(dataset.chunks or ()) * item
    if dataset.ndim > 1 and row_bytes > MAX_ARRAY_BYTES:
        raise _too_large(dataset, f"rows of {row_bytes} bytes", f"{MAX_ARRAY_BYTES}", name)
    if chunk_bytes > MAX_CHUNK_BYTES:
        raise _too_large(dataset, f"chunks of {chunk_bytes} bytes", f"{MAX_CHUNK_BYTES}", name)
    if num_bytes > MAX_ARRAY_BYTES or (dataset.ndim and dataset.shape[0] > MAX_UNWRITTEN_ROWS):
        stored = dataset.id.get_storage_size()
        possible = stored * (_DEFLATE if dataset.id.get_create_plist().get_nfilters() else 1)
        if num_bytes > possible:
            raise _too_large(dataset, f"{num_bytes} bytes", f"{possible}, of which {stored} are stored", name)


def _too_large(dataset: h5py.Dataset, declared: str, most: str, name: str) -> EpisodeError:
    return EpisodeError(
        f"{name}: {dataset.name} declares {declared}, expected at most {most}; the file is damaged, fetch it again"
    )
