"""Reads one part: every raw episode becomes an outcome, also those that a broken file hides."""

from collections.abc import Collection, Iterator, Mapping
from itertools import count, islice

from vita_data.builder.names import with_stored_names
from vita_data.builder.plan import BuildRequest, PlannedPart
from vita_data.builder.pulse import Obstacle, Place, Pulse
from vita_data.errors import SourceError
from vita_data.guard import data_fault
from vita_data.types import Episode, Failure, Outcome, Part, RawTree, Source, SourceSettings

MAX_LOST = 10_000
"""Failed episodes in a row that are listed one by one: a small file may declare millions."""


def part_outcomes(
    source: Source,
    raw: RawTree,
    planned: PlannedPart,
    request: BuildRequest,
    *,
    obstacles: Collection[Obstacle] = (),
    pulse: Pulse | None = None,
) -> Iterator[Outcome]:
    """Yield the outcomes of a part, including failures for the raw episodes that a broken file hides.

    If very many fail in a row, one failure stands for those beyond `MAX_LOST`; the episodes after them are read.

    Args:
        source: reads the part.
        raw: the tree.
        planned: the part, and how many of its episodes are wanted.
        request: the build.
        obstacles: places that ended earlier tries; an episode fails, and where no episode is known, so does the rest.
        pulse: is told each place before it is read.
    """
    part, wanted, num_seen, num_in_row, fault = planned.part, planned.limit, 0, 0, ""
    outcomes = watched_outcomes(source, raw, part, request.settings, obstacles=obstacles, pulse=pulse or Pulse())
    try:
        for outcome in islice(outcomes, wanted):
            if not isinstance(outcome, Failure):
                yield from _unlisted(part, num_seen, num_in_row)
            num_seen, num_in_row = num_seen + 1, num_in_row + 1 if isinstance(outcome, Failure) else 0
            if num_in_row <= MAX_LOST:
                yield outcome
    except Exception as error:  # noqa: BLE001 - one unreadable file must not cost the rest of a long build
        fault = data_fault(error, part.id)
    yield from _unlisted(part, num_seen, num_in_row)
    num_announced = part.num_episodes or 0
    num_wanted = num_announced if wanted is None else min(wanted, num_announced)
    for number in range(num_seen, num_wanted):
        detail = fault or f"{part.id} announced {num_announced} episodes and holds {num_seen}"
        yield with_stored_names(Failure(episode=f"{part.id}#{number}", detail=detail))
    if fault and num_seen >= num_wanted:
        yield with_stored_names(Failure(episode=part.id, detail=fault))


def _unlisted(part: Part, num_seen: int, num_in_row: int) -> Iterator[Outcome]:
    """Yield one failure for all of a row of failures that are not listed, if there are any."""
    if num_in_row > MAX_LOST:
        first = num_seen - num_in_row + MAX_LOST
        detail = f"{part.id}: {num_in_row:,} episodes in a row cannot be read; only the first {MAX_LOST:,} are listed"
        yield with_stored_names(Failure(episode=f"{part.id}#{first}-{num_seen - 1}", detail=detail))


def watched_outcomes(
    source: Source,
    raw: RawTree,
    part: Part,
    settings: SourceSettings,
    *,
    obstacles: Collection[Obstacle],
    pulse: Pulse,
) -> Iterator[Outcome]:
    """Yield the outcomes of a part as its source reads them, and tell each place before it is read.

    Raises:
        SourceError: an earlier try ended while it looked for the next episode.
    """
    known = {(one.place.number, one.place.episode): one.reason for one in obstacles if one.place.part == part.id}

    def read() -> Iterator[Outcome]:  # nothing is opened before the place is told
        yield from source.episodes(raw, part, settings)

    return _placed(read(), part.id, known, pulse)


def _placed(
    outcomes: Iterator[Outcome], part: str, known: Mapping[tuple[int | None, str], str], pulse: Pulse
) -> Iterator[Outcome]:
    """Tell the place of each outcome before it is read and before it is used; stop at a known obstacle.

    Raises:
        SourceError: an earlier try ended while it looked for the next episode.
    """
    for number in count():
        if (reason := known.get((number, ""))) is not None:
            raise SourceError(f"{part}: {reason}")
        pulse.at(Place(part=part, number=number))
        found = next(outcomes, None)
        if found is None:
            return
        outcome = with_stored_names(found)
        if isinstance(outcome, Episode):
            reason = known.get((number, outcome.id))
            pulse.at(Place(part=part, number=number, episode=outcome.id))
            lost = Failure(episode=outcome.id, detail=f"{outcome.id}: {reason}")
            yield pulse.watched(outcome) if reason is None else lost
        else:
            yield outcome
