"""Pictures of raw episodes that were not stored, read again from the download by a worker process."""

from concurrent.futures import ThreadPoolExecutor

from vita_data.builder import WorkerLimits
from vita_data.builder.apart import AGAIN, run_job, tree_fault, value_of
from vita_data.builder.pool import WorkerPool
from vita_data.builder.worker import Answer, Job, Lost
from vita_data.errors import VitaDataError
from vita_data.formats.raw_tree.tree import RAW_OPTION
from vita_data.pages.viewer.raw_reader import RawEpisode, RawRequest, RawTask, read_raw


class RawPictures:
    """Reads episodes of one source's raw tree by part and id; a file that its reader does not survive costs a note."""

    def __init__(self, request: RawRequest, limits: WorkerLimits) -> None:
        """List the parts.

        Raises:
            RequestError: the tree does not have the source's layout.
            SourceError: a file that describes the tree cannot be read, or hangs or crashes its reader.
        """
        self._request = request
        self._pool = WorkerPool(1, limits)
        # A worker ends with the thread that started it, and threads of a server end with their requests.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vita-raw")
        self._last_part = ""
        self._lost: dict[RawTask, RawEpisode] = {}
        """What ended its reader is not read again."""
        try:
            what = self._thread.submit(self._run, RawTask(request=request)).result()
            if isinstance(what, Lost):
                raise tree_fault(f"{RAW_OPTION} {request.raw}", what)
            value_of(what)
        except BaseException:
            self.close()
            raise

    def read(self, part: str, episode: str) -> RawEpisode:
        """Find an episode in its part and take a few of its images, evenly spaced."""
        return self._thread.submit(self._read, RawTask(request=self._request, part=part, episode=episode)).result()

    def close(self) -> None:
        """End the worker, also while it reads."""
        self._pool.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, task: RawTask) -> RawEpisode:
        if task in self._lost:
            return self._lost[task]
        try:
            what = self._run(task)
            if isinstance(what, Lost) and self._last_part == task.part:
                # The reader went on behind the last episode, but this one may come before it: start the part again.
                what = self._run(task)
            self._last_part = "" if isinstance(what, Lost) else task.part
            if isinstance(what, Lost):
                where = "" if what.place is None else what.place.episode or what.place.part
                self._lost[task] = RawEpisode(pictures=(), note=f"{where}: {what.reason}; {AGAIN}")
                return self._lost[task]
            found: RawEpisode = value_of(what)
        except VitaDataError as error:
            return RawEpisode(pictures=(), note=str(error))
        return found

    def _run(self, task: RawTask) -> Answer | Lost:
        return run_job(self._pool, Job(function=read_raw, argument=task))
