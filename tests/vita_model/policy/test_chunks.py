"""When a chunk is asked for, when it arrives, what is executed meanwhile: counted in steps, on no clock."""

import time

import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_data.types import Float64
from vita_model.policy.chunks import BackgroundAsker, Chunked, Execution, Plan, Timing, latency_steps
from vita_model.policy.interfaces import NO_STATE, Observation, PolicyInfo

SEEN = Observation(images={}, instruction="", state=NO_STATE)


class Numbered:
    """Chunk n says n in its first column and the step within it in the second."""

    def __init__(self, rows: int = 12) -> None:
        self.rows, self.num_asked = rows, 0

    @property
    def info(self) -> PolicyInfo:
        return PolicyInfo(name="numbered", convention="canonical")

    def reset(self) -> None:
        self.num_asked = 0

    def act(self, observation: Observation) -> Float64:
        self.num_asked += 1
        return np.array([[self.num_asked, row, 0, 0, 0, 0, 1.0] for row in range(self.rows)])


def run(num_steps: int, *, rows: int = 12, **timing: object) -> tuple[list[tuple[float, float]], list[int], Chunked]:
    """Chunk and row of each command, the steps with a request, and the runner."""
    asked: list[int] = []
    chunked = Chunked(Numbered(rows), Timing(**timing))  # type: ignore[arg-type]
    chunked.reset()
    found = []
    for step in range(num_steps):

        def observe(step: int = step) -> Observation:
            asked.append(step)
            return SEEN

        command = chunked.next(observe)
        found.append((float(command[0]), float(command[1])))
    return found, asked, chunked


def test_without_latency_the_start_of_each_chunk_is_executed() -> None:
    found, asked, chunked = run(7, replan_steps=3)

    assert found == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]
    assert (asked, chunked.num_idle) == ([0, 3, 6], 0)


def test_a_synchronous_robot_stands_still_until_each_answer() -> None:
    found, asked, chunked = run(10, replan_steps=3, latency_steps=2)

    still = (0, 0)
    assert found == [still, still, (1, 0), (1, 1), (1, 2), still, still, (2, 0), (2, 1), (2, 2)]
    assert (asked, chunked.num_idle) == ([0, 5], 4)


def test_an_asynchronous_robot_runs_on_and_skips_the_commands_of_steps_that_have_passed() -> None:
    found, asked, chunked = run(12, replan_steps=4, latency_steps=2, execution=Execution.ASYNCHRONOUS, blend_steps=1)

    expected = [(0, 0), (0, 0), (1, 2), (1, 3), (1, 4), (1, 5), (2, 2), (2, 3), (2, 4), (2, 5), (3, 2), (3, 3)]
    assert found == expected
    assert (asked, chunked.num_idle) == ([0, 4, 8], 2)


def test_an_answer_that_comes_after_the_chunk_has_ended_leaves_a_pause() -> None:
    found, asked, chunked = run(
        17, rows=6, replan_steps=2, latency_steps=4, execution=Execution.ASYNCHRONOUS, blend_steps=1
    )

    assert found[4:8] == [(1, 4), (1, 5), (0, 0), (0, 0)]
    assert found[8:10] == [(2, 4), (2, 5)]
    assert (asked, chunked.num_idle) == ([0, 4, 8, 12, 16], 10)
    late, _, _ = run(30, rows=6, replan_steps=2, latency_steps=6, execution=Execution.ASYNCHRONOUS)
    assert set(late) == {(0, 0)}  # nothing of a chunk is left when it arrives


def test_a_chunk_shorter_than_the_steps_between_requests_is_followed_at_once() -> None:
    found, asked, chunked = run(4, rows=1, replan_steps=5, execution=Execution.ASYNCHRONOUS)
    assert found == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert (asked, chunked.num_idle) == ([0, 1, 2, 3], 0)

    found, asked, chunked = run(9, rows=3, replan_steps=5, latency_steps=1, execution=Execution.ASYNCHRONOUS)
    assert found == [(0, 0), (1, 1), (1, 2), (0, 0), (2, 1), (2, 2), (0, 0), (3, 1), (3, 2)]
    assert (asked, chunked.num_idle) == ([0, 3, 6], 3)


def test_a_new_chunk_replaces_the_old_one_over_the_blended_steps() -> None:
    plan = Plan(blend_steps=4)
    old, new = np.zeros((8, 7)), np.ones((8, 7))
    old[:, 6] = -1.0
    plan.join(old, asked=0, now=0)
    assert plan.pop(0) == pytest.approx(old[0])
    plan.join(new, asked=2, now=3)

    commands = [plan.pop(step) for step in range(3, 10)]
    assert [command[0] for command in commands if command is not None] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert {command[6] for command in commands if command is not None} == {1.0}
    assert plan.pop(10) is None


def test_a_robot_that_stands_still_keeps_its_gripper() -> None:
    class Closes(Numbered):
        def act(self, observation: Observation) -> Float64:
            chunk = super().act(observation)
            chunk[:, 6] = 1.0 if self.num_asked == 1 else -1.0
            return chunk

    chunked = Chunked(Closes(), Timing(replan_steps=2, latency_steps=2))
    commands = [chunked.next(lambda: SEEN) for _ in range(8)]

    assert [command[6] for command in commands] == [1, 1, 1, 1, 1, 1, -1, -1]
    assert [np.any(command[:6]) for command in commands] == [False, False, True, True, False, False, True, True]


def test_nothing_of_an_episode_is_left_in_the_next_one() -> None:
    _, _, chunked = run(5, replan_steps=3, latency_steps=2, execution=Execution.ASYNCHRONOUS)
    chunked.reset()

    assert chunked.num_idle == 0
    assert chunked.next(lambda: SEEN)[0] == 0.0  # waits for the first answer again
    assert chunked.num_idle == 1


def test_delays_are_whole_steps_and_bad_ones_are_refused() -> None:
    assert [latency_steps(ms, 20) for ms in (0, 1, 50, 51, 400)] == [0, 1, 1, 2, 8]
    for wrong in ({"replan_steps": 0}, {"replan_steps": 1, "latency_steps": -1}, {"replan_steps": 1, "blend_steps": 0}):
        with pytest.raises(RequestError):
            Timing(**wrong)


def awaited(asker: BackgroundAsker) -> Float64:
    until = time.monotonic() + 30
    while (answer := asker.answer(0)) is None and time.monotonic() < until:
        time.sleep(0.001)
    assert answer is not None
    return answer


def test_a_request_in_the_background_is_answered_once_or_raises_there() -> None:
    asker = BackgroundAsker(Numbered().act)
    assert asker.answer(0) is None
    asker.ask(SEEN, 0)
    assert awaited(asker).shape == (12, 7)
    assert asker.answer(0) is None
    asker.close()

    def fails(observation: Observation) -> Float64:
        raise RequestError("no policy")

    broken = BackgroundAsker(fails)
    broken.ask(SEEN, 0)
    with pytest.raises(RequestError, match="no policy"):
        awaited(broken)
    broken.close()
