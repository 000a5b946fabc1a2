"""A server of its own thread, before a policy that is none: it answers with what it was asked."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

from vita_data.errors import RequestError
from vita_model.serving.options import ServeOptions
from vita_model.serving.server import PolicyServer


class Echo:
    """Answers with the mean of the image and the length of the prompt."""

    metadata: ClassVar = {"policy": "echo", "action_horizon": 4}

    def act(self, request: dict[str, Any]) -> dict[str, Any]:
        if "observation/image" not in request:
            raise RequestError("a request needs observation/image")
        if request.get("prompt") == "break":
            raise ZeroDivisionError
        image = request["observation/image"]
        return {"actions": np.full((4, 7), image.mean(), np.float32), "prompt": request["prompt"]}


@contextmanager
def running(handler: object, options: ServeOptions) -> Iterator[int]:
    """Serve on a free port of the loopback while inside; gives the port."""
    loop, started, ports = asyncio.new_event_loop(), threading.Event(), []
    stop = asyncio.Event()

    async def serve() -> None:
        async with PolicyServer(handler, options).serving("127.0.0.1", 0) as server:  # type: ignore[arg-type]
            ports.append(server.sockets[0].getsockname()[1])
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    with ExitStack() as stack:

        def start(handler: object | None = None, **options: object) -> int:
            return stack.enter_context(running(handler or Echo(), ServeOptions(**options)))  # type: ignore[arg-type]

        yield start
