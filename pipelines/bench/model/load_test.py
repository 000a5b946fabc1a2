"""Requests per second and latencies of `vita-serve`, compared with in-process inference.

The server runs in its own process. Its clients are threads of this process, which send the next request as soon as they
get an answer. In turns with them, the policy is called in this process on the same requests, while the server is idle.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.bench.model.clients import Ask, client_name, connected
from pipelines.bench.model.random_policy import write_random_policy
from pipelines.bench.model.server_process import served
from pipelines.bench.model.specs import LoadSpec
from pipelines.bench.model.train import device_name
from vita_data.storage.scratch import scratch_folder
from vita_data.types import CameraRole, Float64, Image
from vita_model.policy.observations import IMAGE_KEYS, PROMPT_KEY
from vita_model.policy.openpi import Message
from vita_model.policy.policy import PolicyOptions, VitaPolicy
from vita_model.training.recipes.presets import PRESETS

_VIEWS = (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
SIDE = 224
"""Side of the images that openpi's clients send."""
_NUM_DIFFERENT = 8
_MAX_TURNS = 4
_PROMPT = "pick up the cup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Throughput and latencies of one or several clients."""

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    policy_ms: float
    """Median time of the policy, as reported by the server; the rest is queueing and transfer."""

    @classmethod
    def of(cls, times_s: Sequence[float], policy_s: Sequence[float], total_s: float) -> Self:
        """Summarize the time of each answer, the policy's part of it, and the total time."""
        p50, p95, p99 = (float(time_s) * 1e3 for time_s in np.percentile(times_s, (50, 95, 99)))
        return cls(
            requests_per_s=len(times_s) / total_s,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            policy_ms=1e3 * float(np.median(policy_s)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """Results for a number of concurrent clients."""

    num_clients: int
    max_batch: int
    """Requests that the server may answer with one call of the policy."""
    figures: Figures
    ratio: float
    """Requests per second relative to in-process inference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """All results of one run."""

    policy: str
    device: str
    num_cores: int
    num_views: int
    num_requests: int
    client: str
    largest_difference: float
    """Largest difference between served and in-process actions."""
    in_process: Figures
    rows: tuple[LoadRow, ...]


def measure_load(spec: LoadSpec) -> LoadReport:
    """Measure a policy on a server and in process.

    Raises:
        RequestError: the policy does not exist.
        VitaDataError: the server ends, or answers with an error.
    """
    with _policy_folder(spec) as folder:
        policy = VitaPolicy.from_pretrained(folder, PolicyOptions(device=spec.device))
        inputs = tuple(_Input.drawn(policy, number) for number in range(_NUM_DIFFERENT))
        with ExitStack() as servers:
            asks = {max_batch: _connections(servers, spec, folder, max_batch) for max_batch in spec.batches}
            difference = max(_difference(policy, one, ask[0](one.request)) for ask in asks.values() for one in inputs)
            in_process, loads = _in_turns(spec, policy, asks, inputs)
    rows = tuple(
        LoadRow(
            num_clients=number, max_batch=max_batch, figures=load,
            ratio=load.requests_per_s / in_process.requests_per_s,
        )
        for (number, max_batch), load in loads.items()
    )  # fmt: skip
    return LoadReport(
        policy=spec.preset if spec.policy is None else str(spec.policy), device=device_name(policy.device),
        num_cores=os.cpu_count() or 1, num_views=len(inputs[0].images), num_requests=spec.num_requests,
        client=client_name(), largest_difference=difference, in_process=in_process, rows=rows,
    )  # fmt: skip


def _connections(servers: ExitStack, spec: LoadSpec, folder: Path, max_batch: int) -> list[Ask]:
    """Start a server and connect the clients to it."""
    port = servers.enter_context(served(folder, device=spec.device, max_batch=max_batch))
    return [servers.enter_context(connected(port)) for _ in range(max(spec.clients))]


@contextmanager
def _policy_folder(spec: LoadSpec) -> Iterator[Path]:
    if spec.policy is not None:
        yield spec.policy
        return
    with scratch_folder("vita-bench-") as folder:
        write_random_policy(folder, PRESETS[spec.preset](), views=_VIEWS)
        yield folder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Input:
    """One input, as a request and as arguments of `VitaPolicy.predict`; the state is masked."""

    images: dict[CameraRole, Image]
    source: str

    @classmethod
    def drawn(cls, policy: VitaPolicy, seed: int) -> Self:
        rng = np.random.default_rng(seed)
        views = [view for view in policy.signature.views if view in IMAGE_KEYS]
        images = {view: rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for view in views}
        return cls(images=images, source=policy.signature.sources[0])

    @property
    def request(self) -> Message:
        pictures = {IMAGE_KEYS[view]: image for view, image in self.images.items()}
        return {**pictures, PROMPT_KEY: _PROMPT, "source": self.source}

    def answer(self, policy: VitaPolicy) -> Float64:
        decision = policy.predict(self.images, _PROMPT, source=self.source)
        return decision.right.astype(np.float64)


def _difference(policy: VitaPolicy, asked: _Input, answer: Mapping[str, Any]) -> float:
    return float(np.abs(asked.answer(policy) - answer["actions"]).max())


_Asker = Callable[[_Input], float | None]
"""Sends an input; returns the policy's time in ms, if known."""


class _Timer:
    """Measures answers in bursts, and combines the bursts."""

    def __init__(self) -> None:
        self.times_s: list[tuple[float, float]] = []
        self.total_s = 0.0

    @property
    def figures(self) -> Figures:
        times_s, policy_s = zip(*self.times_s, strict=True)
        return Figures.of(times_s, policy_s, self.total_s)

    def burst(self, asks: Sequence[_Asker], inputs: Sequence[_Input]) -> None:
        """Send every input once; each asker sends the next one as soon as it gets an answer."""
        waiting = deque(inputs)
        with ThreadPoolExecutor(len(asks)) as threads:
            start_s = time.perf_counter()
            try:
                found = list(threads.map(_drained, asks, [waiting] * len(asks)))
            finally:
                waiting.clear()  # after Ctrl-C or a fault, stop all askers
            self.total_s += time.perf_counter() - start_s
        self.times_s += [times_s for part in found for times_s in part]


def _drained(ask: _Asker, waiting: deque[_Input]) -> list[tuple[float, float]]:
    times_s: list[tuple[float, float]] = []
    while True:
        try:
            one = waiting.popleft()
        except IndexError:
            return times_s
        start_s = time.perf_counter()
        told_ms = ask(one)
        took_s = time.perf_counter() - start_s
        times_s.append((took_s, took_s if told_ms is None else told_ms / 1e3))


def _in_turns(
    spec: LoadSpec, policy: VitaPolicy, asks: Mapping[int, Sequence[Ask]], inputs: Sequence[_Input]
) -> tuple[Figures, dict[tuple[int, int], Figures]]:
    """Measure the policy and all rows in turns, several times, so that a busy machine affects them equally."""
    called, loads = _Timer(), {(number, max_batch): _Timer() for number in spec.clients for max_batch in asks}
    num_turns = min(_MAX_TURNS, spec.num_requests // max(spec.clients))
    askers = {max_batch: [partial(_ask_server, ask) for ask in of_server] for max_batch, of_server in asks.items()}
    for part in np.array_split(np.arange(spec.num_requests) % len(inputs), num_turns):
        turn = [inputs[number] for number in part]
        called.burst([partial(_call, policy)], turn)
        for (number, max_batch), load in loads.items():
            load.burst(askers[max_batch][:number], turn)
    return called.figures, {row: load.figures for row, load in loads.items()}


def _ask_server(ask: Ask, one: _Input) -> float:
    return float(ask(one.request)["server_timing"]["infer_ms"])


def _call(policy: VitaPolicy, one: _Input) -> None:
    one.answer(policy)
