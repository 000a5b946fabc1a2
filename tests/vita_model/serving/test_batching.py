"""Concurrent requests are answered by one call, each with its own answer; a bad one refuses only itself."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_model.serving.batching import BatchingHandler
from vita_model.serving.request_handler import PolicyRequestHandler

Request = dict[str, Any]


class Doubler:
    """Answers twice the number; keeps the batches; waits in a call while the gate is closed."""

    def __init__(self) -> None:
        self.metadata: Request = {"policy": "doubler"}
        self.batches: list[list[int]] = []
        self.gate, self.is_inside = threading.Event(), threading.Event()
        self.gate.set()

    def act(self, request: Request) -> Request:
        return self.act_many([request])[0]

    def act_many(self, requests: Sequence[Request]) -> list[Request]:
        self.batches.append([request["number"] for request in requests])
        self.is_inside.set()
        assert self.gate.wait(30)
        if any(request["number"] < 0 for request in requests):
            raise RequestError("expected a number of at least 0")
        if any(request["number"] == 13 for request in requests):
            raise ZeroDivisionError
        return [{"actions": 2 * request["number"]} for request in requests]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def asked_together(
    doubler: Doubler, pool: ThreadPoolExecutor, numbers: Sequence[int], *, max_batch: int
) -> list[object]:
    """Ask for all numbers while the policy is busy with another request; gives answers, or the faults."""
    doubler.gate.clear()
    with closing(BatchingHandler(doubler, max_batch=max_batch, max_wait_ms=0)) as handler:
        first = pool.submit(handler.act, {"number": 0})
        assert doubler.is_inside.wait(30)
        rest = [pool.submit(handler.act, {"number": number}) for number in numbers]
        while handler._waiting.qsize() < len(numbers):
            pass
        doubler.gate.set()
        assert first.result(30) == {"actions": 0}
        return [one.exception(30) or one.result() for one in rest]


def test_what_came_while_the_policy_was_busy_is_one_batch(doubler: Doubler, threads: ThreadPoolExecutor) -> None:
    answers = asked_together(doubler, threads, range(1, 11), max_batch=4)

    assert answers == [{"actions": 2 * number} for number in range(1, 11)]
    assert [len(batch) for batch in doubler.batches] == [1, 4, 4, 2]
    assert sorted(number for batch in doubler.batches for number in batch) == list(range(11))


def test_a_bad_request_refuses_only_itself(doubler: Doubler, threads: ThreadPoolExecutor) -> None:
    answers = asked_together(doubler, threads, [1, -1, 2], max_batch=8)

    assert [answers[0], answers[2]] == [{"actions": 2}, {"actions": 4}]
    assert isinstance(answers[1], RequestError)


def test_a_fault_of_the_policy_reaches_every_client_and_does_not_end_the_thread(
    doubler: Doubler, threads: ThreadPoolExecutor
) -> None:
    assert [type(one) for one in asked_together(doubler, threads, [1, 13], max_batch=8)] == [ZeroDivisionError] * 2
    with closing(BatchingHandler(doubler, max_batch=8, max_wait_ms=0)) as handler:
        with pytest.raises(ZeroDivisionError):
            handler.act({"number": 13})
        assert handler.act({"number": 4}) == {"actions": 8}
        assert handler.metadata == doubler.metadata


def test_a_call_waits_for_more_if_it_was_told_to(doubler: Doubler, threads: ThreadPoolExecutor) -> None:
    with closing(BatchingHandler(doubler, max_batch=2, max_wait_ms=30_000)) as handler:
        both = [threads.submit(handler.act, {"number": number}) for number in (1, 2)]
        assert [one.result(20) for one in both] == [{"actions": 2}, {"actions": 4}]
    assert [len(batch) for batch in doubler.batches] == [2]


@pytest.mark.filterwarnings("ignore:connect")
def test_clients_of_a_server_get_their_own_answers_from_shared_calls(
    serve: Callable[..., int], threads: ThreadPoolExecutor
) -> None:
    from pipelines.bench.model.clients import connected

    class Batched:
        """The fixture's handler, several at once."""

        def __init__(self) -> None:
            self.metadata: Request = {"policy": "echo"}
            self.sizes: list[int] = []

        def act(self, request: Request) -> Request:
            return self.act_many([request])[0]

        def act_many(self, requests: Sequence[Request]) -> list[Request]:
            self.sizes.append(len(requests))
            return [{"actions": np.full((4, 7), request["observation/image"].mean())} for request in requests]

    batched = Batched()
    with closing(BatchingHandler(batched, max_batch=8, max_wait_ms=50)) as handler:
        port = serve(handler, num_threads=8)

        def client(number: int) -> set[float]:
            with connected(port) as ask:
                image = np.full((8, 8, 3), number, np.uint8)
                return {float(ask({"observation/image": image, "prompt": "x"})["actions"][0, 0]) for _ in range(5)}

        assert list(threads.map(client, range(8))) == [{float(number)} for number in range(8)]
    assert sum(batched.sizes) == 40
    assert max(batched.sizes) > 1


def test_one_call_of_the_policy_answers_all_in_order() -> None:
    from tests.vita_model.serving.test_request_handler import GOOD, Policy

    class Counting(Policy):
        def decide(self, observations):  # type: ignore[no-untyped-def]
            self.sizes = [*getattr(self, "sizes", []), len(observations)]
            return [super(Counting, self).decide([one])[0] for one in observations]

    policy = Counting()
    handler = PolicyRequestHandler(policy, "libero")  # type: ignore[arg-type]
    answers = handler.act_many([GOOD, {**GOOD, "source": "bridge"}])

    assert policy.sizes == [2]
    assert [answer["actions"].shape for answer in answers] == [(2, 7)] * 2
