"""One call that checks a source, for the tests of its author."""

from collections.abc import Callable
from pathlib import Path

from vita_data.builder import build
from vita_data.sources import load, load_own
from vita_data.storage.scratch import scratch_folder
from vita_data.testing import built, reading
from vita_data.testing.under_test import SourceUnderTest

_CHECKS: tuple[Callable[[SourceUnderTest], None], ...] = (
    reading.check_info,
    reading.check_parts,
    reading.check_counts,
    reading.check_ids,
    reading.check_toy,
    reading.check_clips_survive,
    built.check_cameras_and_actions,
    built.check_plausible_values,
    built.check_deltas,
    built.check_frames,
    built.check_nothing_lost,
    built.check_shards,
    built.check_same_bytes,
    built.check_no_place_named,
)


def check_source(source: str | Path) -> None:
    """Write the toy of a source, read it, build it twice, and check all that a source promises.

    Frames of a toy must be drawn by `vita_data.formats.toy.toy_frame`: the check reads their marks. Real data is
    checked by `vita-data probe`.

    Args:
        source: the name of a source that is installed, or the Python file that defines one.

    Raises:
        AssertionError: the source breaks a promise; says which one, where, and what was found.
        RequestError: no source has this name, or the file does not define one.
    """
    file = str(source) if isinstance(source, Path) or source.endswith(".py") else ""
    loaded = load_own(file) if file else load(str(source))
    with scratch_folder("vita-check-") as folder:
        tested = SourceUnderTest(name=loaded.INFO.name, file=file, raw=folder / "raw", shards=folder / "shards")
        tested.raw.mkdir()
        loaded.write_toy(str(tested.raw))
        build(tested.request(tested.shards))
        for check in _CHECKS:
            check(tested)
