"""Raw trees as they lie on people's disks: made of links, locked, or full of what systems leave in folders."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(64)
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 151234\n"


def folders_of(root: Path) -> list[Path]:
    """List the folders below a tree, relative to it, those above first."""
    return sorted(Path(folder).relative_to(root) for folder, _, _ in os.walk(root))


def files_of(root: Path) -> list[Path]:
    """List the files below a tree, relative to it."""
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def same_files(source: Path, target: Path) -> Path:
    """Make the folders of a tree anew and put the same files into them, as second names."""
    return Path(shutil.copytree(source, target, copy_function=os.link))


def linked_at(source: Path, target: Path, *, depth: int) -> Path:
    """Make a tree whose folders at one depth are links into another, and whose files above them are links too."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_dir() and depth > 1:
            linked_at(path, target / path.name, depth=depth - 1)
        else:
            (target / path.name).symlink_to(path)
    return target


def linked_everywhere(source: Path, pool: Path) -> Path:
    """Make a tree of links alone: each folder and file lies elsewhere, under another name, and a link has its own."""
    target = pool / f"{len(list(pool.iterdir()))}"
    target.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            (target / path.name).symlink_to(os.path.relpath(linked_everywhere(path, pool), target))
        else:
            (target / path.name).symlink_to(path)
    return target


def strew_copies(source: Path, target: Path) -> None:
    """Copy a folder of every folder and each file beside itself, under names of trash and unfinished copies."""
    for folder in {folder.parent: folder for folder in folders_of(source)[1:]}.values():
        for name in (".Trash-1000", ".rsync-partial", "#recycle"):
            same_files(source / folder, target / folder.parent / name)
    for file in files_of(source):
        os.link(source / file, target / file.with_name(f".{file.name}"))


def strew_companions(root: Path) -> None:
    """Put in every folder what macOS does, and beside every file and folder what it keeps of that."""
    for folder in folders_of(root):
        beside = [path.name for path in (root / folder).iterdir()]
        for name in (".DS_Store", *(f"._{name}" for name in (*beside, ".DS_Store"))):
            (root / folder / name).write_bytes(APPLE_DOUBLE)
        (root / folder / "__MACOSX").mkdir()


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Give up root's right to read everything, for a `with` block; whoever is not root has none to give up."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextmanager
def locked(path: Path, mode: int = 0) -> Iterator[None]:
    """Take the right to read a file or folder from everybody but root, for a `with` block."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with as_ordinary_user():
            yield
    finally:
        path.chmod(before)
