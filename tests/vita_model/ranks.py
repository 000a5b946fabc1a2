"""Several ranks on this machine, over gloo: a function is run by each in a process of its own."""

import os
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed import TCPStore
from torch.multiprocessing import get_context


def run_ranks(function: Callable[..., Any], world_size: int, *args: Any, timeout_s: float = 120.0) -> list[Any]:
    """Call `function(*args)` on each rank with torchrun's environment; returns what each returns, in their order.

    `function` must lie at the top level of a module.
    """
    # Ranks are forked from a process that has imported torch, which takes seconds, and nothing else.
    context = get_context("forkserver")
    context.set_forkserver_preload(["vita_model.training.train"])
    # The ranks meet here, as at torchrun's agent: a port that is free now may be another test's when they have started.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    queue = context.SimpleQueue()
    processes = [
        context.Process(target=_run, args=(queue, rank, world_size, store.port, function, args))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout_s)
        if process.is_alive():
            process.kill()
    found, faults = {}, []
    while not queue.empty():
        rank, found[rank], fault = queue.get()
        faults += [f"rank {rank}:\n{fault}"] if fault else []
    silent = {rank: processes[rank].exitcode for rank in range(world_size) if rank not in found}
    if silent:
        faults.append(f"exit codes of ranks that did not answer: {silent}")
    # The rank that failed first is often not the one that is heard first.
    assert not faults, "\n".join(faults)
    return [found[rank] for rank in range(world_size)]


def _run(queue, rank: int, world_size: int, port: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    torch.set_num_threads(1)
    try:
        queue.put((rank, function(*args), ""))
    except BaseException:  # noqa: BLE001 - the parent raises it
        queue.put((rank, None, traceback.format_exc()))
