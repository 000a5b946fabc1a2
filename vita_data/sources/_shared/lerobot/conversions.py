"""Tells which known conversion a LeRobot dataset is, by its features and rate, and refuses those that lost data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from vita_data.declared import ArmColumns, Camera, LeRobotDeclaration, LeRobotSource
from vita_data.errors import RequestError
from vita_data.formats.lerobot.features import fits
from vita_data.formats.lerobot.info import INFO_FILE, features_of, join
from vita_data.formats.lerobot.meta import LeRobotDataset, find_lerobot, open_lerobot
from vita_data.types import Outcome, Part, RawTree, SourceInfo, SourceSettings

_RLDS = "*/*/dataset_info.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A conversion that lost what a build needs."""

    columns: Mapping[str, int]
    cameras: tuple[str, ...]
    why: str
    """Which one it is, what is wrong with it, and what to read in its place."""
    fps: float | None = None
    """None: with any rate."""


class Conversions:
    """The known conversions of one source, the most specific first."""

    def __init__(
        self, info: SourceInfo, known: Sequence[LeRobotSource], *, unusable: Sequence[Unusable] = (), other: str = _RLDS
    ) -> None:
        """Take the facts of a source.

        Args:
            info: its facts.
            known: its conversions.
            unusable: conversions that are refused, by what they have.
            other: pattern of files of the source's other forms.
        """
        self._info, self._known, self._unusable, self._other = info, known, unusable, other
        self._found: WeakKeyDictionary[RawTree, LeRobotSource] = WeakKeyDictionary()

    def are_in(self, raw: RawTree, *, asked: str | None = None) -> bool:
        """Tell whether a tree has a LeRobot dataset to read.

        Args:
            raw: the tree.
            asked: the requested release of another form; LeRobot datasets are then left alone.

        Raises:
            RequestError: it has another form too, and none was chosen.
        """
        found = [] if asked else find_lerobot(raw)
        if found and (others := raw.glob(self._other)):
            raise RequestError(
                f"--raw {raw.root} contains LeRobot ({join(found[0], INFO_FILE)}) and another form ({others[0]}); move "
                "one of them out, or choose the other form with --set release="
            )
        return bool(found)

    @staticmethod
    def has_part(part: Part) -> bool:
        """Tell whether a part is of a LeRobot dataset, by its id."""
        return ".parquet" in part.id or "meta/episodes" in part.id

    def parts(self, raw: RawTree, settings: SourceSettings) -> list[Part]:
        """List the parts.

        Raises:
            RequestError: the dataset is none of the known conversions, or cannot be used.
            SourceError: its description cannot be read.
        """
        return self._source(raw).parts(raw, settings)

    def episodes(self, raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
        """Read the episodes of one part."""
        return self._source(raw).episodes(raw, part, settings)

    def _source(self, raw: RawTree) -> LeRobotSource:
        if raw not in self._found:
            datasets = [open_lerobot(raw, root) for root in find_lerobot(raw)]
            told = [self.told(raw, dataset) for dataset in datasets]
            if len({(source.release, source.declaration.labelled_fps) for source in told}) > 1:
                pairs = zip(told, datasets, strict=True)
                found = ", ".join(f"{source.release} in {dataset.root or '.'}" for source, dataset in pairs)
                raise RequestError(f"--raw {raw.root} contains several conversions: {found}; give the folder of one")
            self._found[raw] = told[0]
        return self._found[raw]

    def told(self, raw: RawTree, dataset: LeRobotDataset) -> LeRobotSource:
        """Find the conversion that a dataset is.

        Raises:
            RequestError: it is none of the known ones, or cannot be used.
        """
        place = f"{join(dataset.root, INFO_FILE)} in {raw.root}"
        for lost in self._unusable:
            if fits(dataset, columns=lost.columns, cameras=lost.cameras) and lost.fps in (None, dataset.fps):
                raise RequestError(f"{place}: {lost.why}")
        for source in self._known:
            declared, cameras = source.declaration, [camera.key for camera in source.declaration.cameras]
            if fits(dataset, columns=declared.columns, cameras=cameras) and declared.labelled_fps == dataset.fps:
                return source
        known = sorted({source.release for source in self._known})
        raise RequestError(
            f"{place}: expected a known LeRobot conversion of {self._info.name} ({', '.join(known)}), found "
            f"{', '.join(features_of(dataset.info))} at {dataset.fps:g} fps; declare it in a file of your own "
            "(--source-file, see vita_data/sources/README.md)"
        )


def declare(
    info: SourceInfo,
    *,
    columns: Mapping[str, int],
    cameras: Sequence[Camera],
    right: ArmColumns | None,
    text_origin: str,
    hz: float,
    labelled_fps: float | None = None,
    text_column: str | None = None,
) -> LeRobotDeclaration:
    """Make the declaration of a conversion from the facts of its source."""
    return LeRobotDeclaration(
        name=info.name,
        title=info.title,
        embodiment=info.embodiment,
        hz=hz,
        labelled_fps=labelled_fps or hz,
        columns=columns,
        cameras=tuple(cameras),
        right=right,
        left=None,
        action_origin=info.action_origin,
        rows_to_action=0,
        lag=info.action_lag,
        text_style=info.text_style,
        text_origin=text_origin,
        text_column=text_column,
        licence=info.licence,
        redistributable=info.redistributable,
        url=info.url,
        access=info.access,
        max_step_m=info.max_step_m,
        max_step_rad=info.max_step_rad,
    )


def relabelled(declared: LeRobotDeclaration, *fps: float) -> list[LeRobotDeclaration]:
    """Allow several labelled rates; the true one is declared."""
    return [replace(declared, labelled_fps=each) for each in fps]
