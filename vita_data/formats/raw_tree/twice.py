"""Finds paths of a folder that are the same file or folder, whose content would be read twice.

Two files whose links point out of the folder, to one file of a store that keeps equal contents once (git-annex, the
cache of Hugging Face), do not count: the dataset itself contains that content twice.
"""

import os
from collections.abc import Iterable
from functools import lru_cache


def find_twice(base: str, paths: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two of `paths` that are the same, by a link to a folder in the path or from one to the other.

    Args:
        base: the folder.
        paths: files and folders in it, as distinct relative paths.
    """
    real_folder = lru_cache(maxsize=None)(os.path.realpath)
    places: dict[str, str] = {}
    links: dict[str, str] = {}
    for path in paths:
        folder, name = os.path.split(f"{base}/{path}")
        place = f"{real_folder(folder)}/{name}"
        if place in places:
            return places[place], path
        places[place] = path
        if os.path.islink(place):
            links[path] = os.path.realpath(place)
    # A link to itself leads nowhere: its file cannot be read, and is not there twice.
    targets = ((places[target], path) for path, target in links.items() if places.get(target, path) != path)
    return next(targets, None)
