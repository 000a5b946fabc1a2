"""Which paths of a folder are one and the same file or folder, so that what it holds would be read twice.

Two files whose links lead out of the folder, to one file of a store that keeps equal contents once (git-annex, the
cache of Hugging Face), are no such paths: the dataset itself has that content twice.
"""

import os
from collections.abc import Iterable
from functools import lru_cache


def find_twice(base: str, paths: Iterable[str]) -> tuple[str, str] | None:
    """Name the first two of `paths` that are the same: by a link to a folder on the way, or from one to the other.

    Args:
        base: the folder.
        paths: files and folders in it, relative to it and each once.
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
    targets = ((places[target], path) for path, target in links.items() if target in places)
    return next(targets, None)
