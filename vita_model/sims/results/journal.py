"""A journal of finished episodes on disk, so that an interrupted evaluation can continue.

DIR/NAME.episodes.jsonl    one line of settings, then one line per episode; removed when the result is written
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from vita_data.command.progress import SILENT, Progress
from vita_data.errors import RequestError
from vita_data.storage.lock import keep_others_out
from vita_data.types import Json
from vita_model.policy.interfaces import Policy, PolicyInfo
from vita_model.sims.results.episodes import Made, Recorder, play
from vita_model.sims.results.rollouts import LoopConfig, Simulation
from vita_model.sims.results.scores import EpisodeResult
from vita_model.sims.results.workers import Job, OpenEpisodes, run_in_workers

Maker = Callable[[], Made]
Note = Callable[[Job, Json], str]
"""Is told each episode once, as it ends or is found in the journal; says what the progress display adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an evaluation writes, and whether it may continue an interrupted one."""

    folder: Path
    name: str
    resume: bool = False
    remedy: str = "add --resume to continue"
    """What to do after an interruption."""

    @property
    def result(self) -> Path:
        """The file of the result."""
        return self.folder / f"{self.name}.json"

    @property
    def episodes(self) -> Path:
        """The file of the journal."""
        return self.folder / f"{self.name}.episodes.jsonl"

    @property
    def is_done(self) -> bool:
        """Whether `resume` finds a finished evaluation."""
        return self.resume and self._is_finished

    @property
    def is_taken(self) -> bool:
        """Whether a new evaluation would replace a finished one."""
        return not self.resume and self._is_finished

    @property
    def _is_finished(self) -> bool:
        return self.result.exists() and not self.episodes.exists()


class Journal:
    """Runs each episode once, even over several processes; a context that reports what is saved if it fails.

    Assumes: episodes do not depend on earlier ones, as in the benchmarks' protocols.
    """

    def __init__(
        self,
        place: Place,
        settings: Mapping[str, object],
        report: Callable[[str], None],
        progress: Progress = SILENT,
        note: Note | None = None,
    ) -> None:
        """Start or continue a journal.

        Args:
            place: where to write.
            settings: settings of all episodes, as JSON values, without their number.
            report: called with progress lines.
            progress: counts the episodes.
            note: adds to the display; None: the successes so far.

        Raises:
            RequestError: an interrupted evaluation exists and `resume` is False, its settings differ, or it is still
                running.
        """
        self._place, self._report, self._progress = place, report, progress
        self._note = note or success_counter()
        self._rows: dict[Job, Json] = {}
        self._asked: set[Job] = set()
        self._shown: set[Job] = set()
        place.folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = place.episodes.open("a+b")
        try:
            told = "another evaluation is running there; wait for it to end, or choose another folder"
            keep_others_out(self._file, f"{place.episodes}: {told}")
            self._load(json.loads(json.dumps(settings)))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        path = self._place.episodes
        if not self._rows or (fault is None and self._rows.keys() <= self._asked):
            path.unlink(missing_ok=True)
        else:
            self._report(f"{len(self._rows)} episodes are saved in {path}; {self._place.remedy}")
        self._file.close()

    def rows(self, group: str, numbers: Iterable[int], run: Callable[[int], Json]) -> Iterator[Json]:
        """Yield the row of each episode of a group; `run` is called for episodes that are not in the journal."""
        return (self._row(group, number, run) for number in numbers)

    def fill(self, jobs: Sequence[Job], opener: OpenEpisodes, num_workers: int) -> None:
        """Run in several processes the episodes that are not in the journal; afterwards `rows` finds all of them.

        Args:
            jobs: all episodes.
            opener: opens simulator and policy in a worker.
            num_workers: number of processes.

        Raises:
            VitaDataError: as `run_in_workers`.
        """
        for job in jobs:
            if job in self._rows:
                self._show(job)
        missing = [job for job in jobs if job not in self._rows]
        with closing(run_in_workers(missing, opener, num_workers)) as done:
            for job, row in done:
                self._keep(job, row)
                self._show(job)

    def episodes(
        self,
        group: str,
        seeds: Iterable[int],
        make: Maker,
        policy: Policy,
        config: LoopConfig,
        recorder: Recorder | None = None,
    ) -> list[EpisodeResult]:
        """Run a task's episodes; the simulator is made only if an episode is missing, and closed at the end."""
        with ExitStack() as stack:

            @cache
            def simulation() -> Simulation:
                made, close = make()
                stack.callback(close)
                return made

            def run(seed: int) -> Json:
                return asdict(play(simulation(), policy, config, group, seed, recorder))

            return episode_results(self.rows(group, seeds, run))

    def _row(self, group: str, number: int, run: Callable[[int], Json]) -> Json:
        job = group, number
        self._asked.add(job)
        if job not in self._rows:
            self._keep(job, run(number))
        if job not in self._shown:
            self._show(job)
        return self._rows[job]

    def _show(self, job: Job) -> None:
        self._shown.add(job)
        self._progress.update(note=self._note(job, self._rows[job]))

    def _keep(self, job: Job, row: Json) -> None:
        self._write({"group": job[0], "number": job[1], "row": row})
        self._rows[job] = row

    def _write(self, value: Json) -> None:
        self._file.write(json.dumps(value, sort_keys=True).encode() + b"\n")
        self._file.flush()

    def _load(self, asked: Json) -> None:
        settings, rows, num_bytes = self._read()
        if not rows:
            self._file.truncate(0)
            self._write(asked)
            return
        path = self._place.episodes
        if not self._place.resume:
            raise RequestError(
                f"{path} holds {len(rows)} episodes of an interrupted evaluation; add --resume to continue, or choose "
                "another folder"
            )
        if changed := [key for key in sorted({**settings, **asked}) if settings.get(key) != asked.get(key)]:
            told = "; ".join(f"{key} was {settings.get(key)!r}, now {asked.get(key)!r}" for key in changed)
            raise RequestError(f"--resume: {path} has other settings ({told}); choose another folder")
        self._file.truncate(num_bytes)  # removes a line that was only partly written
        self._rows = rows
        self._report(f"resuming after {len(rows)} episodes in {path}")

    def _read(self) -> tuple[Json, dict[Job, Json], int]:
        """Read the settings, the episodes, and the number of bytes in complete lines."""
        self._file.seek(0)
        whole, end, _ = self._file.read().rpartition(b"\n")
        if not end:
            return {}, {}, 0
        try:
            settings, *rows = [json.loads(line) for line in whole.split(b"\n")]
            return dict(settings), {(row["group"], row["number"]): row["row"] for row in rows}, len(whole) + 1
        except (ValueError, KeyError, TypeError) as fault:
            path = self._place.episodes
            raise RequestError(f"{path} cannot be read ({fault!r}); remove it to start again") from fault


def episode_results(rows: Iterable[Json]) -> list[EpisodeResult]:
    """Convert rows of episodes."""
    return [EpisodeResult(**row) for row in rows]  # type: ignore[arg-type]


def success_counter(*, by_group: bool = False) -> Note:
    """Make a function that is told each row and says how many episodes, or episodes of its group, succeeded so far."""
    counted: dict[str, list[bool]] = {}

    def note(job: Job, row: Json) -> str:
        successes = counted.setdefault(job[0] if by_group else "", [])
        successes.append(bool(row.get("success")))
        good, total = sum(successes), len(successes)
        name = f"{job[0]}: " if by_group else ""
        return f"{name}{good} of {total} succeeded ({100 * good / total:.0f} %)"

    return note


def identity(info: PolicyInfo) -> Json:
    """Give the properties of a policy that must not change on resume; a server's address may change."""
    return {**info.as_json(), "name": "" if "://" in info.name else info.name}
