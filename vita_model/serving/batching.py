"""Answers the requests of several clients with one call of the policy.

Threads that serve clients call `act` and wait; one thread of this module collects their requests. It never waits while
`max_wait_ms` is 0: it takes what has come while the policy was busy, so a single client loses no time.
"""

import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Protocol

from vita_data.errors import VitaDataError
from vita_model.policy.openpi import Message
from vita_model.serving.request_handler import RequestHandler


class BatchHandler(RequestHandler, Protocol):
    """A handler that can answer several requests at once."""

    def act_many(self, requests: Sequence[Message]) -> list[Message]:
        """Answer requests, all or none.

        Raises:
            RequestError: one of them is invalid.
        """


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    request: Message
    answer: "Future[Message]" = field(default_factory=Future)


class BatchingHandler:
    """Collects concurrent requests for one `BatchHandler`, which is called from one thread only."""

    def __init__(self, handler: BatchHandler, *, max_batch: int, max_wait_ms: int) -> None:
        """Start the thread.

        Args:
            handler: answers the batches.
            max_batch: requests in one call of the policy.
            max_wait_ms: how long a call waits for further requests after its first one.
        """
        self._handler, self._max_batch, self._max_wait_s = handler, max_batch, max_wait_ms / 1000.0
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = Thread(target=self._run, name="vita-batch", daemon=True)
        self._thread.start()

    @property
    def metadata(self) -> Message:
        """First message to a client."""
        return self._handler.metadata

    def act(self, request: Message) -> Message:
        """Wait for the answer of a request; raises as `RequestHandler.act`. Called from any thread."""
        waiting = _Waiting(request)
        self._waiting.put(waiting)
        return waiting.answer.result()

    def close(self) -> None:
        """End the thread after the requests that wait."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, is_over = self._collect(first)
            self._answer(batch)
            if is_over:
                return

    def _collect(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Take further requests until the batch is full or the time is over; tells whether the handler was closed."""
        batch, until_s = [first], time.monotonic() + self._max_wait_s
        while len(batch) < self._max_batch:
            try:
                left_s = until_s - time.monotonic()
                following = self._waiting.get(timeout=left_s) if left_s > 0 else self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, True
            batch.append(following)
        return batch, False

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            answers = self._handler.act_many([one.request for one in batch])
        except VitaDataError:
            for one in batch:  # an invalid request must not refuse the others
                self._answer_alone(one)
        except Exception as fault:  # noqa: BLE001 - raised again where each client is served
            for one in batch:
                one.answer.set_exception(fault)
        else:
            for one, answer in zip(batch, answers, strict=True):
                one.answer.set_result(answer)

    def _answer_alone(self, one: _Waiting) -> None:
        try:
            one.answer.set_result(self._handler.act(one.request))
        except Exception as fault:  # noqa: BLE001 - raised again where the client is served
            one.answer.set_exception(fault)
