"""A loader that was carried into a forked process says so, and neither waits there nor disturbs its parent."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from vita_data.errors import RequestError
from vita_data.loader import LoaderOptions, Plan, make_loader
from vita_data.loader.loader import Loader
from vita_data.types import Json, Manifest


def use(loader: Loader, state: Json, told: Connection) -> None:
    for attempt in (lambda: next(loader), lambda: loader.load_state_dict(state)):
        try:
            attempt()
        except RequestError as error:
            told.send(str(error))
    loader.close()
    told.send("closed")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_loader_says_where_it_was_opened(shards: Path, manifest: Callable[..., Manifest]) -> None:
    plan = Plan.from_manifest(manifest(arm=1, hand=1), shards=shards, stage="finetune", batch_size=4)
    here, there = multiprocessing.Pipe(duplex=False)
    with make_loader(plan, options=LoaderOptions(threads=2)) as loader:
        next(loader)
        child = multiprocessing.get_context("fork").Process(target=use, args=(loader, loader.state_dict(), there))
        child.start()
        assert here.poll(60)
        told = [here.recv() for _ in range(3)]
        child.join(60)
        assert child.exitcode == 0
        assert all("open a loader in each process" in text for text in told[:2])
        assert told[2] == "closed"
        next(loader)
    here.close()
    there.close()
