"""RoboMIND's raw tree: the trajectory files and the facts in their paths; no file is opened here.

Layout: x-humanoid-robomind.github.io, README.md (HDF5 file format). Failed demonstrations, simulated folders and other
robots are ignored.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from vita_data.errors import RequestError
from vita_data.types import Part, RawTree, SourceSettings, Split

RAW_LAYOUT = "benchmark1_*/{folders}/<task>/success_episodes/[train|val/]<episode>/data/trajectory.hdf5"
_RELEASES = "benchmark1_*"
_SUCCESSES = "success_episodes"
_FILE = "data/trajectory.hdf5"


@dataclass(frozen=True, slots=True, kw_only=True)
class RobomindSettings(SourceSettings):
    """Settings (`--set`) of every RoboMIND robot."""

    release: tuple[str, ...] = ()
    """The `benchmark1_*` folders to read; empty means the only existing one."""
    depth: bool = False
    """Also store the depth images, in metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The facts in the path of a trajectory file."""

    path: str
    release: str
    folder: str
    """The robot's folder, such as `h5_ur_1rgb`."""
    task: str
    split: Split | None
    """None if the release has no train/val level."""
    episode: str

    @property
    def id(self) -> str:
        """The path without the common ending of all trajectories."""
        return self.path.removesuffix(f"/{_FILE}")

    @property
    def place(self) -> str:
        """The path in the release."""
        return self.id.removeprefix(f"{self.release}/")


def parse_path(path: str) -> Trajectory:
    """Parse release, robot, task, split and episode from a trajectory's path."""
    release, folder, task, _, *level, episode, _, _ = PurePosixPath(path).parts
    return Trajectory(
        path=path, release=release, folder=folder, task=task, split=Split(level[0]) if level else None, episode=episode
    )


def list_trajectories(raw: RawTree, settings: SourceSettings, folders: tuple[str, ...]) -> list[Part]:
    """List one part per trajectory file of the robot's folders, in every requested release.

    Folders of other robots, simulated folders and failed demonstrations are ignored.

    Raises:
        RequestError: no trajectory exists; a release is unknown; or several releases have trajectories and none was
            chosen.
    """
    asked = own_settings(settings).release
    releases = _chosen_releases(raw, asked)
    found = [_trajectories(raw, f"{release}/{folder}") for release in releases for folder in folders]
    files = sorted(file for files in found for file in files)
    if not files:
        raise _nothing_found(raw, releases, folders)
    there = sorted({parse_path(file).release for file in files})
    if len(there) > 1 and not asked:
        raise RequestError(
            f"--raw {raw.root}: {', '.join(there)}; choose with --set release= (several releases, separated by commas, "
            "are read together, with every trajectory of each)"
        )
    return [Part(id=file, num_bytes=raw.size(file), num_episodes=1) for file in files]


def own_settings(settings: SourceSettings) -> RobomindSettings:
    """Narrow the settings to RoboMIND's.

    Raises:
        TypeError: they belong to another source, which is a bug.
    """
    if not isinstance(settings, RobomindSettings):
        raise TypeError(f"expected the Settings of a RoboMIND source, got {type(settings).__name__}")
    return settings


def _chosen_releases(raw: RawTree, asked: tuple[str, ...]) -> list[str]:
    found = raw.glob(_RELEASES)
    if absent := sorted(set(asked) - set(found)):
        there = ", ".join(found) or f"no folder {_RELEASES}"
        raise RequestError(f"--set release: {', '.join(absent)} not in {raw.root}; found {there}")
    return [release for release in found if not asked or release in asked]


def _trajectories(raw: RawTree, folder: str) -> list[str]:
    """Find the files in one robot's folder, with and without the train/val level."""
    if not raw.exists(folder):
        return []
    levels = [f"*/{_SUCCESSES}/*", *(f"*/{_SUCCESSES}/{split}/*" for split in Split)]
    return [file for level in levels for file in raw.glob(f"{folder}/{level}/{_FILE}")]


def _nothing_found(raw: RawTree, releases: list[str], folders: tuple[str, ...]) -> RequestError:
    wanted = RAW_LAYOUT.format(folders="|".join(folders))
    there = sorted({PurePosixPath(path).name for release in releases for path in raw.glob(f"{release}/h5_*")})
    message = f"--raw {raw.root}: no {wanted}; found {', '.join(there) or ', '.join(releases) or 'no benchmark1_*'}"
    if any("_sim" in name for name in there):
        message += "; simulated folders are not supported: their robot states are sampled at four times the camera rate"
    return RequestError(message)
