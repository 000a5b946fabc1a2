"""Lists what a build will read: the parts, the landmarks of the tree, and the files that no part reads."""

from collections.abc import Callable
from dataclasses import dataclass

from vita_data.builder.parts import list_parts, unread_files
from vita_data.builder.plan import BuildRequest
from vita_data.builder.pulse import Place, Pulse
from vita_data.formats.raw_tree.tree import FsspecTree
from vita_data.formats.raw_tree.unread import Unread
from vita_data.nearby_raw import raw_advice
from vita_data.types import Part

_MAX_LANDMARKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingTask:
    """The tree to list."""

    request: BuildRequest
    with_unread: bool
    """Whether the files that no part reads are searched for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What was found."""

    parts: tuple[Part, ...]
    address: str
    """The tree's address for workers; of the hub, with the commit that was listed."""
    landmarks: tuple[str, ...]
    """Entries of the tree; if one is missing later, the whole tree is, and no file is to blame."""
    unread: Unread | None


def list_raw(task: ListingTask, on_progress: Callable[[object], None], pulse: Pulse) -> Listing:
    """List a raw tree; a job for a worker.

    Raises:
        RequestError: the tree does not have the source's layout.
        SourceError: a file that describes the whole tree cannot be read.
    """
    request, source = task.request, task.request.load()
    pulse.at(Place(part="", number=None))
    with (
        raw_advice(source, request.raw, request.settings),
        FsspecTree(request.raw, on_open=pulse.opened, on_answer=pulse.beat) as raw,
    ):
        listed = list_parts(source, raw, request.settings)
        landmarks = tuple(raw.glob("*")[:_MAX_LANDMARKS])
        unread = unread_files(listed, raw) if task.with_unread else None
    return Listing(parts=listed.parts, address=raw.address, landmarks=landmarks, unread=unread)
