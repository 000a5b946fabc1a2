"""The command `vita-serve`: serve a run or an exported policy over a websocket."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial

from vita_data.action_convention import CANONICAL, require_convention
from vita_data.command.arguments import local_path, not_negative, port, positive, word
from vita_data.command.exits import OneLineParser, exit_code, printable
from vita_data.errors import RequestError, VitaDataError
from vita_model.devices import device
from vita_model.policy.interfaces import API_KEY
from vita_model.serving.options import ServeOptions
from vita_model.training.checkpoint.run_folder import find_policy
from vita_model.training.recipes.recipe import Precision

_MAX_BATCH = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit code: 0 stopped, 1 could not serve, 2 invalid request."""
    arguments = _parser().parse_args(argv)
    # Ctrl-C while serving is a normal stop; the server handles it.
    interrupted = "interrupted before the server started"
    return exit_code("vita-serve", lambda: _serve(arguments), interrupted=interrupted, extras=("serve", "train"))


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="vita-serve",
        description="Serve a trained policy over a websocket, for openpi clients and (with --convention libero) for "
        "vla-eval clients.",
        epilog="openpi clients connect to ws://HOST:PORT, vla-eval clients to ws://HOST:PORT/vla-eval. If the "
        f"environment variable {API_KEY} is set, clients must send it as `Authorization: Api-Key KEY`.",
    )
    parser.add_argument(
        "run", type=local_path, metavar="RUN", help="run folder, one of its checkpoints, or an exported policy"
    )
    parser.add_argument(
        "--convention", type=word, default=CANONICAL, metavar="NAME",
        help="action convention: canonical (m, rad, gripper 1 = open), or a source whose constants the checkpoint has "
        "(default: canonical)",
    )  # fmt: skip
    parser.add_argument(
        "--host", type=word, default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=port, default=8000, help="port to listen on; 0 picks a free one (default: 8000)")
    parser.add_argument(
        "--allow-origin", type=word, action="append", default=[], metavar="ORIGIN",
        help="web page that may use the policy, such as http://localhost:3000; may be repeated (default: none, because "
        "any page that a browser opens could otherwise move the robot)",
    )  # fmt: skip
    parser.add_argument(
        "--replan-steps", type=positive, default=5, metavar="N",
        help="for vla-eval clients: actions executed from each chunk before replanning (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--max-batch", type=positive, metavar="N",
        help="requests of different clients that the policy answers in one call (default: 8; with --compile 1)",
    )  # fmt: skip
    parser.add_argument(
        "--max-wait-ms", type=not_negative, default=0, metavar="MS",
        help="time that a call waits for further requests (default: 0, only those that came meanwhile)",
    )  # fmt: skip
    parser.add_argument("--device", type=device, default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    parser.add_argument(
        "--precision", type=Precision, choices=list(Precision), default=Precision.FP32,
        help="precision of matrix products (default: fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true", help="compile the policy at startup; takes minutes (CUDA graphs on a GPU)"
    )
    return parser


def _serve(arguments: argparse.Namespace) -> None:
    require_convention(arguments.convention, find_policy(arguments.run)[1].conventions)
    _require_host(arguments.host, arguments.port)
    max_batch = _max_batch(arguments)

    from vita_model.policy.policy import PolicyOptions, VitaPolicy
    from vita_model.serving.batching import BatchingHandler
    from vita_model.serving.request_handler import PolicyRequestHandler
    from vita_model.serving.server import PolicyServer

    options = PolicyOptions(device=arguments.device, precision=arguments.precision, compile=arguments.compile)
    policy = VitaPolicy.from_pretrained(arguments.run, options)
    answering = PolicyRequestHandler(policy, arguments.convention)
    if options.compile:
        policy.warm_up()
    handler = (
        answering
        if max_batch == 1
        else BatchingHandler(answering, max_batch=max_batch, max_wait_ms=arguments.max_wait_ms)
    )
    serve_options = ServeOptions(
        api_key=os.environ.get(API_KEY) or None,
        origins=tuple(arguments.allow_origin),
        replan_steps=arguments.replan_steps,
        num_threads=max_batch,
    )
    what, say = f"{arguments.run}, actions in convention {arguments.convention}", partial(print, flush=True)
    try:
        asyncio.run(PolicyServer(handler, serve_options).run(arguments.host, arguments.port, say, printable(what)))
    except BrokenPipeError:  # stdout was closed
        raise
    except OSError as fault:
        raise VitaDataError(f"{arguments.host}:{arguments.port}: {fault.strerror or fault}") from fault


def _max_batch(arguments: argparse.Namespace) -> int:
    """Choose the size of batches; raises RequestError if a compiled policy, whose batch is fixed, is to have others."""
    if arguments.compile and (arguments.max_batch or 1) > 1:
        raise RequestError(f"--max-batch {arguments.max_batch}: a policy is compiled for one request; omit --compile")
    return arguments.max_batch or (1 if arguments.compile else _MAX_BATCH)


def _require_host(host: str, port: int) -> None:
    """Refuse an unknown address before the policy is loaded; raises RequestError."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise RequestError(f"--host {host}: expected an address of this machine ({reason})") from fault


if __name__ == "__main__":
    sys.exit(main())
