"""The data files of the viewer by name: `clips/0.js`, `clip/12.js`, `images/12/0/3.js`, `thumb/12.jpg`, ...

A folder that was exported and the server answer with the same bytes for a name. Data are scripts that call
`VITA.take(name, value)`, because a page that was opened from a disk may load scripts but not read files.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.resources import files as package_files

from vita_data import __version__
from vita_data.builder import WorkerLimits
from vita_data.errors import RequestError
from vita_data.pages.shards.clips import stored_steps
from vita_data.pages.viewer.catalog import Catalog, ListedSource
from vita_data.pages.viewer.clip import GROUP, image_group, num_groups, shown_steps, thumbnail, view_clip
from vita_data.pages.viewer.raw import RawPictures
from vita_data.pages.viewer.raw_reader import RawRequest
from vita_data.shards.card_fields import settings_of
from vita_data.shards.index import read_card
from vita_data.shards.reader import ShardFiles
from vita_data.sources import load
from vita_data.storage.files import AnyPath

ASSETS = ("index.html", "viewer.css", "data.js", "list.js", "plots.js", "clip.js", "main.js")
_NAME = re.compile(r"(meta|clips|lost|clip|images|thumb|raw)((?:/[0-9]{1,9}){0,3})\.(?:js|jpg)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What the page needs to begin with."""

    sources: Sequence[ListedSource]
    num_clip_chunks: int
    num_lost_chunks: int
    group: int
    meanings: Mapping[str, str]
    num_written: int | None
    """Clips of each source whose files were written; None if a server reads any clip."""
    sources_with_raw: Sequence[int]
    version: str


def asset(name: str) -> bytes:
    """Read the page itself, its style or one of its scripts."""
    return (package_files("vita_data.pages.viewer") / "assets" / name).read_bytes()


class ViewerFiles:
    """Makes the data files of the viewer for built sources."""

    def __init__(
        self,
        folders: Sequence[AnyPath],
        *,
        raws: Mapping[str, str] | None = None,
        own: Mapping[str, str] | None = None,
        limits: WorkerLimits | None = None,
        num_written: int | None = None,
    ) -> None:
        """Open the sources.

        Args:
            folders: the built sources.
            raws: by a source's name, the download it was built from, for pictures of what was not stored.
            own: the Python files of sources that do not come with the package, by the source's name.
            limits: of the worker processes that read the downloads.
            num_written: how many clips of each source an export writes; None for all.
        """
        self.catalog = Catalog(folders)
        self._num_written = num_written
        self._shards = ShardFiles()
        raws = raws or {}
        self._raws: dict[int, RawPictures] = {}
        try:
            for number, card in enumerate(self.catalog.cards):
                if card.source in raws:
                    request = _request(card.source, raws[card.source], own or {}, folders[number])
                    self._raws[number] = RawPictures(request, limits or WorkerLimits())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes that read downloads."""
        for raw in self._raws.values():
            raw.close()

    @cached_property
    def meta(self) -> Meta:
        """What the page needs to begin with."""
        catalog = self.catalog
        return Meta(
            sources=catalog.sources, num_clip_chunks=len(catalog.clip_runs), num_lost_chunks=len(catalog.lost_runs),
            group=GROUP, meanings=catalog.meanings, num_written=self._num_written, sources_with_raw=list(self._raws),
            version=__version__,
        )  # fmt: skip

    def read(self, name: str) -> bytes | None:
        """Make a file; None if there is no file of that name.

        Raises:
            ShardError: what it is made from is damaged.
        """
        found = _NAME.fullmatch(name)
        if found is None or (found[1] == "thumb") != name.endswith(".jpg"):
            return None
        numbers = [int(number) for number in found[2].split("/")[1:]]
        try:
            if found[1] == "thumb":
                return thumbnail(self._shards, self.catalog.place(*numbers)) if len(numbers) == 1 else None
            return script(name, self._value(found[1], numbers))
        except (IndexError, _NoSuchFileError):
            return None

    def names(self) -> Iterator[str]:
        """Yield the names of the files of an export."""
        yield "meta.js"
        yield from (f"clips/{number}.js" for number in range(self.meta.num_clip_chunks))
        yield from (f"lost/{number}.js" for number in range(self.meta.num_lost_chunks))
        for number, source in enumerate(self.meta.sources):
            most = source.num_clips if self._num_written is None else min(self._num_written, source.num_clips)
            for clip in range(source.first_clip, source.first_clip + most):
                yield from self._names_of(clip)
            if number in self._raws:
                most = source.num_lost if self._num_written is None else min(self._num_written, source.num_lost)
                yield from (f"raw/{lost}.js" for lost in range(source.first_lost, source.first_lost + most))

    def _names_of(self, clip: int) -> Iterator[str]:
        yield f"clip/{clip}.js"
        row = self.catalog.place(clip).row
        if stored_steps(row):
            yield f"thumb/{clip}.jpg"
        for camera, steps in enumerate(shown_steps(row).values()):
            yield from (f"images/{clip}/{camera}/{group}.js" for group in range(num_groups(len(steps))))

    def _value(self, kind: str, numbers: Sequence[int]) -> object:
        match kind, len(numbers):
            case "meta", 0:
                return self.meta
            case "clips", 1:
                return self.catalog.clip_chunk(numbers[0])
            case "lost", 1:
                return self.catalog.lost_chunk(numbers[0])
            case "clip", 1:
                return view_clip(self._shards, self.catalog.place(numbers[0]))
            case "images", 3:
                return image_group(self._shards, self.catalog.place(numbers[0]), camera=numbers[1], group=numbers[2])
            case "raw", 1:
                source, row = self.catalog.lost(numbers[0])
                if source in self._raws:
                    return self._raws[source].read(str(row["part"]), str(row["id"]))
        raise _NoSuchFileError


class _NoSuchFileError(Exception):
    pass


def _request(name: str, raw: str, own: Mapping[str, str], folder: AnyPath) -> RawRequest:
    file = own.get(name, "")
    try:
        load(name, file)
    except RequestError as error:
        raise RequestError(f"{error}; to read the --raw of a source of your own, give its --source-file") from error
    settings = json.dumps(settings_of(read_card(folder)), sort_keys=True)
    return RawRequest(source=name, source_file=file, raw=raw, settings=settings)


def script(name: str, value: object) -> bytes:
    """Write a value as a script that hands it to the page."""
    return f"VITA.take({_json(name)}, {_json(value)});\n".encode("ascii")


def failure(name: str, message: str) -> bytes:
    """Write an error as a script that hands it to the page."""
    return f"VITA.fail({_json(name)}, {_json(message)});\n".encode("ascii")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"cannot be written as JSON: {type(value).__name__}")
