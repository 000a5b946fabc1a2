"""A source that reads HDF5 files like robomimic's as a declaration says."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import h5py
import numpy as np

from vita_data.declared.arm import Table
from vita_data.declared.commands import compare_columns
from vita_data.declared.declaration import Hdf5Declaration
from vita_data.declared.rows import Recorded, make_episode, pair_rows, require_rows, source_info
from vita_data.declared.toy import ToyDemo, toy_demos
from vita_data.errors import RequestError
from vita_data.formats.hdf5.opener import (
    DatasetStream,
    demo_names,
    find_dataset,
    find_group,
    open_hdf5,
    read_floats,
    text_attribute,
)
from vita_data.guard import guarded
from vita_data.types import (
    Clip,
    CommandPair,
    CommandReader,
    Drop,
    Episode,
    Outcome,
    Part,
    RawTree,
    SourceSettings,
)

_RELEASE = "hdf5"
_SUFFIX = "_demo"


class Hdf5Source:
    """A `Source` made from a declaration."""

    Settings: type[SourceSettings] = SourceSettings

    def __init__(self, declaration: Hdf5Declaration) -> None:
        self.declaration = declaration
        self.INFO = source_info(declaration, raw_layout=f"{declaration.files}: data/demo_N")

    def parts(self, raw: RawTree, settings: SourceSettings) -> list[Part]:
        """List the files.

        Raises:
            RequestError: there is none.
        """
        files = raw.glob(self.declaration.files)
        if not files:
            raise RequestError(f"--raw {raw.root}: found no {self.declaration.files}; give the folder of the files")
        return [Part(id=path, num_bytes=raw.size(path), num_episodes=None) for path in files]

    def episodes(self, raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
        """Read the demonstrations of one file in the order of their numbers.

        Raises:
            SourceError: the file cannot be opened, or has no demonstrations.
        """
        with open_hdf5(raw.local_path(part.id), name=part.id) as file:
            for demo in demo_names(file, name=part.id):
                id_ = f"{part.id}#{demo}"
                yield guarded(id_, partial(self._episode, file, demo, part, settings))

    def _episode(self, file: h5py.File, demo: str, part: Part, settings: SourceSettings) -> Episode | Drop:
        declared, id_ = self.declaration, f"{part.id}#{demo}"
        group = find_group(file, f"data/{demo}", name=part.id)
        columns = self._columns(group, id_)
        images = {camera: find_dataset(group, camera.key, name=id_) for camera in declared.cameras}
        cameras = {
            camera: DatasetStream(found, rows=np.arange(len(found)), name=id_) for camera, found in images.items()
        }
        recorded = Recorded(
            id=id_,
            release=_RELEASE,
            split=None,
            hz=settings.hz or declared.hz,
            texts=[self._text(file, group, part.id)],
            cameras=cameras,
            provenance={"file": part.id, "record": demo},
        )
        num_rows = require_rows(columns, cameras, name=id_)
        return make_episode(declared, recorded, pair_rows(columns, num_rows, rows_to_action=declared.rows_to_action))

    def _columns(self, demo: h5py.Group, name: str) -> Table:
        return {key: read_floats(demo, key, width=width, name=name) for key, width in self.declaration.columns.items()}

    def _text(self, file: h5py.File, demo: h5py.Group, name: str) -> str:
        key = self.declaration.text_attribute
        if key is None:
            return PurePosixPath(name).stem.removesuffix(_SUFFIX).replace("_", " ")
        found = (text_attribute(node, key, name=name) for node in (demo, file["data"], file))
        return next((text for text in found if text is not None), "")

    def command_reader(self, raw: RawTree, settings: SourceSettings) -> CommandReader:
        """Make a reader of recorded and rebuilt commands, or of reached poses if the actions are those."""
        return partial(self._compare, raw)

    def _compare(self, raw: RawTree, clip: Clip) -> tuple[CommandPair, ...]:
        name = str(clip.provenance["file"])
        with open_hdf5(raw.local_path(name), name=name) as file:
            columns = self._columns(find_group(file, f"data/{clip.provenance['record']}", name=name), clip.episode)
        return compare_columns(self.declaration, clip, columns, name=clip.episode)

    def write_toy(self, root: str) -> None:
        """Write a file for each text (or one, if all files have one name) with demonstrations that are as declared."""
        files: dict[Path, list[ToyDemo]] = {}
        for demo in toy_demos(self.declaration):
            name = self.declaration.files.replace("*", demo.text.replace(" ", "_") + _SUFFIX)
            files.setdefault(Path(root) / name, []).append(demo)
        for path, demos in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                for number, demo in enumerate(demos):
                    self._write_demo(file.create_group(f"data/demo_{number}"), demo)

    def _write_demo(self, group: h5py.Group, demo: ToyDemo) -> None:
        for key, values in demo.columns.items():
            group[key] = values
        for key, frames in demo.frames.items():
            group[key] = np.stack(frames)
        if self.declaration.text_attribute is not None:
            group.attrs[self.declaration.text_attribute] = demo.text
