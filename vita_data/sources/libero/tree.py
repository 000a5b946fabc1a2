"""Which files of a LIBERO raw tree to read: HDF5 files and RLDS folders.

The suite of each is given by its folder's name, the release by its content. A tree with several releases is refused
until one is chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from vita_data.errors import RequestError, SourceError, raise_machine_fault
from vita_data.formats.hdf5.opener import demo_names, open_hdf5
from vita_data.formats.rlds.dataset import read_features
from vita_data.sources.libero.release import SUITES, Release, expect_release, suite_of, tell_release
from vita_data.sources.libero.rlds import image_size, is_replay, layout_fault
from vita_data.types import RawTree

DEMO_SUFFIX = "_demo"
_HDF5 = f"libero*/*{DEMO_SUFFIX}.hdf5"
_RLDS = "libero*/*/dataset_info.json"
_LIST_BLOCK_BYTES = 1 << 15
"""Listing the demonstrations and detecting the release read about thirty small pieces all over a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiberoFile:
    """An HDF5 file, or the dataset_info.json of an RLDS folder."""

    path: str
    release: Release | None = None
    """None if it cannot be told, or if the file cannot be opened; it then fails when it is read."""
    unclear: str = ""
    """Why the release of a readable file cannot be told."""
    num_demos: int | None = None

    @property
    def suite(self) -> str:
        """The suite that the folder's name begins with."""
        return suite_of(self.path.partition("/")[0]) or ""

    @property
    def folder(self) -> str:
        """Its folder: `libero_goal`, or `libero_goal_no_noops/1.0.0`."""
        return str(PurePosixPath(self.path).parent)

    @property
    def task(self) -> str:
        """The task of an HDF5 file; empty for RLDS, which contains several."""
        return task_of(self.path) if self.path.endswith(".hdf5") else ""


def task_of(path: str) -> str:
    """Return the task of an HDF5 file: its name without `_demo.hdf5`."""
    return PurePosixPath(path).stem.removesuffix(DEMO_SUFFIX)


def choose_files(
    raw: RawTree, *, release: Release | None, suites: Sequence[str], tasks: Sequence[str], layout: str
) -> tuple[Release | None, list[LiberoFile]]:
    """Choose the files of one release, sorted; the release is None if no file can be opened.

    Args:
        raw: the raw tree.
        release: the requested release; None for the only existing one.
        suites: requested suites or folders; all if empty.
        tasks: requested tasks; all if empty.
        layout: the expected layout of the tree, for messages.

    Raises:
        RequestError: nothing is found; several releases are found and none was chosen; a suite exists twice; a
            requested suite or task does not exist; or the release of a folder, or of all files, cannot be told.
        SourceError: a JSON file of an RLDS folder cannot be read.
    """
    paths = _of_suites(_paths(raw, release, layout), suites, raw)
    files = [_opened(raw, path, release) for path in paths]
    told = release or _only_release(raw, files)
    kept = [file for file in files if file.release in (told, None)]
    if not kept:
        raise RequestError(
            f"--raw {raw.root}: no files of --set release={told}; found {' and '.join(_releases(files))}; omit "
            "release to read these"
        )
    _refuse_unclear(kept, asked=release)
    if told is not Release.NO_NOOPS:
        kept = _of_tasks(kept, tasks, raw)
    _refuse_twice(kept, raw)
    return told, sorted(kept, key=lambda file: file.path)


def _paths(raw: RawTree, release: Release | None, layout: str) -> list[str]:
    patterns = {_HDF5: release is not Release.NO_NOOPS, _RLDS: release in (Release.NO_NOOPS, None)}
    found = [path for pattern, wanted in patterns.items() if wanted for path in raw.glob(pattern)]
    known = [path for path in found if suite_of(path.partition("/")[0])]
    if known:
        return known
    asked = f" for --set release={release}" if release else ""
    if found:
        raise RequestError(
            f"--raw {raw.root}: cannot tell the suite of {found[0]}{asked}; expected a folder whose name begins with "
            f"{', '.join(SUITES)}; rename the folder, or link to it with such a name"
        )
    raise RequestError(f"--raw {raw.root}: {layout} not found{asked}; give the folder that contains libero_*")


def _of_suites(paths: list[str], suites: Sequence[str], raw: RawTree) -> list[str]:
    """Keep the requested folder (`libero_goal_regen`, `libero_goal/1.0.1`), or all folders of a requested suite."""
    folders = {path: {str(parent) for parent in PurePosixPath(path).parents} - {"."} for path in paths}
    known = set().union(*folders.values())
    by_suite = {path: suite_of(path.partition("/")[0]) or "" for path in paths}
    _refuse_absent("suites", suites, set(by_suite.values()), known, raw)
    whole = {name for name in suites if name not in known}
    return [path for path in paths if not suites or folders[path] & set(suites) or by_suite[path] in whole]


def _opened(raw: RawTree, path: str, asked: Release | None) -> LiberoFile:
    if not path.endswith(".hdf5"):
        _refuse_other_rlds(raw, str(PurePosixPath(path).parent), asked)
        return LiberoFile(path=path, release=Release.NO_NOOPS)
    try:
        with raw.open(path, block_bytes=_LIST_BLOCK_BYTES) as stored, open_hdf5(stored, name=path) as opened:
            names = demo_names(opened, name=path)
            told = expect_release(opened, names, name=path)
            if asked not in (None, told.release):
                told = tell_release(opened, names, name=path)  # before it is excluded
    except (SourceError, OSError) as error:
        raise_machine_fault(error, path)
        return LiberoFile(path=path)
    unclear = told.unclear(path) if told.release is None else ""
    return LiberoFile(path=path, release=told.release, unclear=unclear, num_demos=len(names))


def _refuse_other_rlds(raw: RawTree, folder: str, asked: Release | None) -> None:
    features = read_features(raw, folder)
    fault = layout_fault(features)
    if fault is not None:
        raise RequestError(
            f"--raw {raw.root}: {folder} is not LIBERO in RLDS form: {fault}; move it out of --raw, or choose other "
            "folders with --set suites="
        )
    if asked is None and not is_replay(features):
        size = "x".join(str(each or "?") for each in image_size(features))
        raise RequestError(
            f"--raw {raw.root}: cannot tell whether the observations of {folder} were recorded before their actions: "
            f"expected the images of a replay, such as 256x256, got {size}; conversions of the official files, whose "
            "observations were recorded after their actions, have 128x128. Read the official HDF5 files instead, or if "
            f"this is a replay, add --set release={Release.NO_NOOPS}"
        )


def _releases(files: Sequence[LiberoFile]) -> list[Release]:
    found = {file.release for file in files}
    return [release for release in Release if release in found]


def _only_release(raw: RawTree, files: Sequence[LiberoFile]) -> Release | None:
    """Return the only release; HDF5 files of unknown release count as a second one beside RLDS."""
    found = _releases(files)
    if found == [Release.NO_NOOPS] and any(file.release is None for file in files):
        path = next(file.path for file in files if file.release is None)
        raise RequestError(
            f"--raw {raw.root} contains the release {Release.NO_NOOPS} and HDF5 files; the release of {path} cannot be "
            f"told; choose one with --set release={Release.NO_NOOPS}, {Release.OFFICIAL} or {Release.REPLAYED}"
        )
    if len(found) > 1:
        places = {release: next(file.folder for file in files if file.release is release) for release in found}
        raise RequestError(
            f"--raw {raw.root} contains the releases {' and '.join(found)}; choose one with --set release="
            f"{' or '.join(found)} ({', '.join(f'{release} in {place}' for release, place in places.items())})"
        )
    return found[0] if found else None


def _refuse_unclear(files: Sequence[LiberoFile], *, asked: Release | None) -> None:
    """Refuse a tree in which no file's release can be told; a single such file fails only when it is read."""
    if asked is None and all(file.unclear for file in files):
        more = f" (and {len(files) - 1} more such files)" if len(files) > 1 else ""
        raise RequestError(f"{files[0].unclear}{more}")


def _of_tasks(files: list[LiberoFile], tasks: Sequence[str], raw: RawTree) -> list[LiberoFile]:
    found = {file.task for file in files}
    _refuse_absent("tasks", tasks, found, found, raw)
    return [file for file in files if not tasks or file.task in tasks]


def _refuse_twice(files: Sequence[LiberoFile], raw: RawTree) -> None:
    """Refuse two copies of a suite, whose episodes would all be read twice."""
    places: dict[tuple[str, str], str] = {}
    for file in files:
        first = places.setdefault((file.suite, file.task), file.folder)
        if first != file.folder:
            folders = _first_folders(files)
            raise RequestError(
                f"--raw {raw.root} contains {' '.join(filter(None, (file.suite, file.task)))} twice: in {first} and in "
                f"{file.folder}; choose folders, for example --set suites={','.join(folders)}"
            )


def _first_folders(files: Sequence[LiberoFile]) -> Iterator[str]:
    return iter({file.suite: file.folder for file in reversed(files)}.values())


def _refuse_absent(key: str, asked: Sequence[str], shown: set[str], known: set[str], raw: RawTree) -> None:
    absent = sorted(set(asked) - shown - known)
    if absent:
        raise RequestError(
            f"--set {key}: {', '.join(absent)} not found in {raw.root}; available: {', '.join(sorted(shown)[:8])}"
        )
