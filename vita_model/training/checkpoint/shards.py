"""How `torch.distributed.checkpoint` stores a run's tensors: each rank writes and reads only its own part.

Tensors have names `FILE/NAME`. Files of weights are consolidated: the first rank joins the ranks' parts into one
FILE.safetensors. The others, such as the optimizer's, stay in one file for each rank, whose notes hold the place of
each part in its tensor. No file contains pickled objects.
"""

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    LoadPlanner,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from vita_model.training.checkpoint.tensor_files import DTYPES, Place, Shape, join_parts, write_tensors

_OFFSETS, _SIZES = "offsets", "sizes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """This rank's part of a tensor, on the CPU."""

    values: Tensor
    offset: tuple[int, ...]
    """Where the part begins in each dimension."""
    size: tuple[int, ...]
    """The shape of the whole tensor."""


class ChunkPlanner(DefaultSavePlanner):
    """Plans to save a mapping of names to chunks; ranks that have the same chunk write it once."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def create_local_plan(self) -> SavePlan:
        """List this rank's chunks; sharding can leave a rank without rows of a tensor."""
        chunks = self.state_dict.items()
        self.plan = SavePlan([_write_item(n, c) for n, c in chunks if c.values.numel() or 0 in c.size])
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """Give the values of a chunk."""
        chunk: Chunk = self.state_dict[write_item.index.fqn]
        return chunk.values


def _write_item(name: str, chunk: Chunk) -> WriteItem:
    offsets = torch.Size(chunk.offset)
    return WriteItem(
        index=MetadataIndex(name, offsets),
        type=WriteItemType.SHARD,
        tensor_data=TensorWriteData(
            chunk=ChunkStorageMetadata(offsets=offsets, sizes=chunk.values.shape),
            properties=TensorProperties(dtype=chunk.values.dtype),
            size=torch.Size(chunk.size),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Where a rank has written a chunk, and the sha256 of that file."""

    place: Place
    sha256: str


class ChunkWriter(StorageWriter):
    """Writes chunks into the folder that `begin` gives; `finish` gets the sha256 of all files, by name."""

    def __init__(
        self,
        begin: Callable[[], Path],
        finish: Callable[[Mapping[str, str]], None],
        *,
        sharded: Collection[str],
    ) -> None:
        self._begin, self._finish, self._sharded = begin, finish, sharded
        self._folder = Path()

    def reset(self, checkpoint_id: object = None) -> None:
        """Do nothing: a writer is used once."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:  # noqa: FBT001
        """Do nothing: all ranks write alike."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Make the folder, on the first rank, and tell each rank which files it writes."""
        self._folder = self._begin()
        ends = [f"{rank:05d}-of-{len(plans):05d}" for rank in range(len(plans))]
        return [
            dataclasses.replace(plan, storage_data=(self._folder, end)) for plan, end in zip(plans, ends, strict=True)
        ]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's chunks, one file for each FILE of their names."""
        folder, end = plan.storage_data
        results = []
        for file in sorted({_file_of(item.index.fqn) for item in plan.items}):
            items = {_name_of(item.index.fqn): item for item in plan.items if _file_of(item.index.fqn) == file}
            tensors = {name: cast("Tensor", planner.resolve_data(item)) for name, item in items.items()}
            written = write_tensors(folder / f"{file}-{end}.safetensors", tensors, _notes(items))
            for name, item in items.items():
                stored = _Stored(place=written.places[name], sha256=written.sha256)
                results.append(WriteResult(item.index, stored.place.num_bytes, stored))
        return _done(results)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Consolidate the weights, on the first rank, and pass the sha256 of all files on."""
        stored: dict[str, dict[MetadataIndex, _Stored]] = {}
        for result in (result for rank in results for result in rank):
            stored.setdefault(_file_of(result.index.fqn), {})[result.index] = result.storage_data
        sha256: dict[str, str] = {}
        for file, chunks in stored.items():
            if file in self._sharded:
                sha256 |= {one.place.path.name: one.sha256 for one in chunks.values()}
            else:
                sha256[f"{file}.safetensors"] = self._joined(file, metadata, chunks)
        self._finish(sha256)

    def _joined(self, file: str, metadata: Metadata, chunks: Mapping[MetadataIndex, _Stored]) -> str:
        """Make one file of the ranks' parts; with one rank it is the part itself, which needs no copy."""
        whole = self._folder / f"{file}.safetensors"
        sources = {one.place.path: one.sha256 for one in chunks.values()}
        if len(sources) == 1:
            ((source, sha256),) = sources.items()
            source.rename(whole)
            return sha256
        shapes, parts = {}, {}
        for fqn in dict.fromkeys(index.fqn for index in chunks):
            known: Any = metadata.state_dict_metadata[fqn]
            shapes[_name_of(fqn)] = Shape(dtype=known.properties.dtype, sizes=tuple(known.size))
            parts[_name_of(fqn)] = _rows_in_order(fqn, known, chunks)
        sha256 = join_parts(whole, shapes, parts)
        for source in sources:
            source.unlink()
        return sha256

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: object) -> bool:
        """Refuse all: the folder is given to the constructor."""
        return False


def _rows_in_order(fqn: str, known: TensorStorageMetadata, chunks: Mapping[MetadataIndex, _Stored]) -> list[Place]:
    """Order a tensor's parts, each of which must be whole rows, since only these are consecutive in a file."""
    if any(chunk.sizes[1:] != known.size[1:] for chunk in known.chunks):
        raise ValueError(f"{fqn}: expected weights that are sharded by rows")
    ordered = sorted(known.chunks, key=lambda chunk: tuple(chunk.offsets))
    return [chunks[MetadataIndex(fqn, chunk.offsets)].place for chunk in ordered]


def _require_whole(fqn: str, known: TensorStorageMetadata) -> None:
    """Refuse chunks that lie outside their tensor or do not fill it: torch would leave the rest of it as it was."""
    for chunk in known.chunks:
        spans = zip(chunk.offsets, chunk.sizes, known.size, strict=True)
        if not all(0 <= offset <= offset + size <= whole for offset, size, whole in spans):
            raise ValueError(f"{fqn}: {list(chunk.sizes)} at {list(chunk.offsets)} is outside {list(known.size)}")
    held, whole = sum(prod(chunk.sizes) for chunk in known.chunks), prod(known.size)
    if held != whole:
        raise ValueError(f"{fqn}: expected {whole} values, the files hold {held}")


def _notes(items: Mapping[str, WriteItem]) -> dict[str, str]:
    """Describe where chunks lie in their tensors; nothing if all are whole."""
    offsets, sizes = {}, {}
    for name, item in items.items():
        known = item.tensor_data
        if known is not None and known.chunk.sizes != known.size:
            offsets[name], sizes[name] = list(known.chunk.offsets), list(known.size)
    cut = {_OFFSETS: json.dumps(offsets), _SIZES: json.dumps(sizes)} if offsets else {}
    return {"format": "pt", **cut}


class ChunkReader(StorageReader):
    """Reads the chunks that a rank needs from safetensors files; `files` lists the files of each FILE in names."""

    def __init__(self, files: Mapping[str, Sequence[Path]]) -> None:
        self._files = files
        self._places: dict[MetadataIndex, tuple[Path, str]] = {}

    def reset(self, checkpoint_id: object = None) -> None:
        """Do nothing: a reader is used once."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read which tensors there are from the headers of all files."""
        found: dict[str, TensorStorageMetadata] = {}
        for file, path in ((file, path) for file, paths in self._files.items() for path in paths):
            for name, chunk, size, dtype in _chunks_in(path):
                fqn = f"{file}/{name}"
                known = found.setdefault(fqn, TensorStorageMetadata(TensorProperties(dtype=dtype), size, []))
                known.chunks.append(chunk)
                self._places[MetadataIndex(fqn, chunk.offsets)] = (path, name)
        for fqn, known in found.items():
            _require_whole(fqn, known)
        return Metadata(state_dict_metadata=dict(found))

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:  # noqa: FBT001
        """Do nothing: `read_metadata` has set up everything."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Leave the plans as they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copy the wanted rows into the tensors of the plan, one after the other."""
        for path in sorted({self._places[item.storage_index][0] for item in plan.items}):
            with safe_open(path, framework="pt") as file:
                for item in plan.items:
                    place, name = self._places[item.storage_index]
                    if place == path:
                        target = planner.resolve_tensor(item)
                        target.copy_(_part(file, name, item.storage_offsets, item.lengths))
                        planner.commit_tensor(item, target)
        return _done(None)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: object) -> bool:
        """Refuse all: the files are given to the constructor."""
        return False


def _chunks_in(path: Path) -> Iterator[tuple[str, ChunkStorageMetadata, torch.Size, torch.dtype]]:
    with safe_open(path, framework="pt") as file:
        notes = file.metadata() or {}
        offsets, sizes = (json.loads(notes.get(note, "{}")) for note in (_OFFSETS, _SIZES))
        for name in file.keys():  # noqa: SIM118 - not a mapping
            part = file.get_slice(name)
            shape = part.get_shape()
            offset = torch.Size(offsets.get(name, [0] * len(shape)))
            yield (
                name,
                ChunkStorageMetadata(offsets=offset, sizes=torch.Size(shape)),
                torch.Size(sizes.get(name, shape)),
                DTYPES[part.get_dtype()],
            )


def _part(file: Any, name: str, offsets: Sequence[int], lengths: Sequence[int]) -> Tensor:
    if not lengths:
        whole: Tensor = file.get_tensor(name)
        return whole
    part: Tensor = file.get_slice(name)[
        tuple(slice(start, start + size) for start, size in zip(offsets, lengths, strict=True))
    ]
    return part


@torch.no_grad()
def read_into(tensors: dict[str, Tensor], files: Mapping[str, Sequence[Path]]) -> None:
    """Fill tensors, whole or sharded, from files, each rank for itself; names are as for saving.

    Raises:
        RuntimeError: a tensor is missing.
        ValueError: a tensor has another shape.
    """
    reader, planner = ChunkReader(files), DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    metadata = reader.read_metadata()
    planner.set_up_planner(tensors, metadata, is_coordinator=True)
    reader.read_data(planner.finish_plan(planner.create_local_plan()), planner)


def names_in(files: Sequence[Path]) -> list[str]:
    """List the tensors of which files have parts."""
    return sorted({name for path in files for name, *_ in _chunks_in(path)})


def _file_of(name: str) -> str:
    return name.partition("/")[0]


def _name_of(name: str) -> str:
    return name.partition("/")[2]


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
