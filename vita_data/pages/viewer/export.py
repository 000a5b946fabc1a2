"""Writes the viewer to a folder that opens without a server, a network or an installation."""

import shutil
from pathlib import Path

from vita_data.command.progress import SILENT, Progress
from vita_data.errors import RequestError
from vita_data.pages.viewer.files import ASSETS, ViewerFiles, asset

DATA = "data"
PAGE = "index.html"


def export(files: ViewerFiles, folder: Path, progress: Progress = SILENT) -> Path:
    """Write the page and its data, whose files progress counts; an earlier export in the folder is replaced.

    Returns:
        The path of the page.

    Raises:
        RequestError: the folder has other content.
        ShardError: a shard is damaged.
    """
    require_free(folder)
    shutil.rmtree(folder / DATA, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ASSETS:
        (folder / name).write_bytes(asset(name))
    made: set[Path] = set()
    progress.start(None)
    for name in files.names():
        path = folder / DATA / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        data = files.read(name)
        if data is None:
            raise KeyError(name)
        path.write_bytes(data)
        progress.update()
    return folder / PAGE


def require_free(folder: Path) -> None:
    """Refuse a folder that has content other than an earlier export.

    Raises:
        RequestError: it has, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--html {folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DATA / "meta.js").is_file():
        raise RequestError(f"--html {folder} is not empty; give a new folder")
