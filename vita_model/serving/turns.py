"""Who is answered next: clients that wait for their answers go before those that do not."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from vita_data.errors import RequestError

Answer = bytes | None


@dataclass(slots=True, eq=False)
class Asker:
    """What decides about a client's turn."""

    is_eager: bool = False
    """It sent its request before it was sent the previous answer, so it does not wait for it, or reads slowly."""
    served: int = 0
    """The number of its last turn, from 1; 0: it has had none."""

    @property
    def order(self) -> tuple[bool, int]:
        """Sort key: patient clients first, and among them the one whose last turn is longest ago."""
        return self.is_eager, self.served


@dataclass(slots=True, eq=False)
class _Request:
    asker: Asker
    compute: Callable[[], Answer]
    answer: asyncio.Future[Answer]


class Turns:
    """Runs requests on a few threads; the queue for them is limited. Not thread-safe: for one event loop."""

    def __init__(self, max_waiting: int, num_threads: int = 1) -> None:
        self._max_waiting, self._num_free = max_waiting, num_threads
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="vita-act")
        self._waiting: list[_Request] = []
        self._num_turns = 0

    async def run(self, asker: Asker, compute: Callable[[], Answer]) -> Answer:
        """Compute an answer when it is this client's turn; a cancelled request leaves the queue.

        Raises:
            RequestError: the queue is full, and all others in it go first.
        """
        request = _Request(asker, compute, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._begin()
        if len(self._waiting) > self._max_waiting:
            last = max(reversed(self._waiting), key=lambda one: one.asker.order)  # of equals the latest
            self._waiting.remove(last)
            if not last.answer.done():
                last.answer.set_exception(RequestError(f"busy: {self._max_waiting} requests are waiting; try again"))
        try:
            return await request.answer
        finally:
            if request in self._waiting:
                self._waiting.remove(request)

    def close(self) -> None:
        """End the threads after their current requests."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        self._waiting = [one for one in self._waiting if not one.answer.done()]
        if not self._num_free or not self._waiting:
            return
        request = min(self._waiting, key=lambda one: one.asker.order)
        self._waiting.remove(request)
        self._num_free -= 1
        self._num_turns += 1
        request.asker.served = self._num_turns
        computing = asyncio.get_running_loop().run_in_executor(self._threads, request.compute)
        computing.add_done_callback(partial(self._end, request))

    def _end(self, request: _Request, computed: asyncio.Future[Answer]) -> None:
        self._num_free += 1
        fault = None if computed.cancelled() else computed.exception()
        if request.answer.done():  # nobody waits for it any more
            pass
        elif computed.cancelled():
            request.answer.cancel()
        elif fault is not None:
            request.answer.set_exception(fault)
        else:
            request.answer.set_result(computed.result())
        self._begin()
