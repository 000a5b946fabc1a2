"""Writes down what must not change while modules move, and later tells what did change.

    python -m pipelines.house_sums --out FILE        before: a line `NAME VALUE` each, sorted
    python -m pipelines.house_sums --compare FILE    after: prints the lines that differ; exit code 1 if any does

It takes about four minutes on two idle cores. Compare on one machine and one installation: losses depend on the
processor and on torch, shards on the codecs.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np
from websockets.sync.client import connect

from pipelines.house_calls import exit_codes, options
from pipelines.house_lines import Line, differences, files, leaves, read, summed, text_of
from pipelines.house_place import ERROR, LOAD_MANIFEST, PACK, PLAN, QUESTION, ROOT, Place, make_place, moved

_FRAMES, _STAGES = ("keyframes", "all"), ("warmup", "cotrain", "finetune")
_STEPS = {"warmup": 10, "cotrain": 4, "finetune": 3}
"""Of each debug run: more than warmup's updates without codes, and both kinds of batch."""
_PATIENCE_S = 300.0
"""How long a server may take to answer: the machine may be busy."""


def house_sums(place: Place) -> Iterator[Line]:
    """Make every line, in the order in which one needs what another made."""
    yield from files("golden", ROOT / "tests" / "golden")
    for what, made in (
        ("toy builds", _builds), ("plans", _plans), ("debug runs", _runs), ("the wire", _wire),
        ("options", options), ("exit codes", exit_codes),
    ):  # fmt: skip
        print(f"house_sums: {what}", file=sys.stderr, flush=True)
        yield from made(place)


def _builds(place: Place) -> Iterator[Line]:
    """Sum raw toy trees, and what is built of them."""
    raw = place.folder / "raw"
    place.output("vita-data", "toy", "--source", "all", "--raw", raw)
    yield from files("raw", raw)
    for frames, tree in product(_FRAMES, sorted(raw.iterdir())):
        words = ("--source", tree.name, "--raw", tree, "--out", place.folder / frames, "--frames", frames)
        place.output("vita-data", "build", "--workers", "1", *words)
    for frames in _FRAMES:
        yield from files(f"build {frames}", place.folder / frames)


def _plans(place: Place) -> Iterator[Line]:
    """Give the digest of each plan that the manifests allow on the toy builds."""
    plan, load, refused = moved(PLAN), moved(LOAD_MANIFEST), moved(ERROR)
    for path, stage, frames in product(sorted((ROOT / "manifests").glob("*.toml")), _STAGES, _FRAMES):
        name = f"plan {path.stem} {stage} {frames}"
        try:
            made = plan.from_manifest(load(path), shards=str(place.folder / frames), stage=stage, batch_size=8)
            yield Line(name, made.hash)
        except refused:
            yield Line(name, "refused")


def _runs(place: Place) -> Iterator[Line]:
    """Train the three stages for a few steps each, one from the other."""
    init: tuple[str, ...] = ()
    for stage, num_steps in _STEPS.items():
        run = place.folder / "runs" / stage
        recipe, shards = f"pipelines/recipes/debug_{stage}.py", place.folder / "all"
        place.output("vita-train", recipe, "--shards", shards, "--out", run, "--steps", str(num_steps), *init)
        init = ("--set", f"init={run}")
        yield from _run_lines(place, run)


def _run_lines(place: Place, run: Path) -> Iterator[Line]:
    """Lay out the losses of a run, its tensors, and its state without the place it lies in."""
    for text in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(text)
        del row["samples_per_s"]
        yield from leaves(f"loss {run.name} {row['step']:03d}", row)
    yield from _evaluation(run)
    (checkpoint,) = (run / "checkpoints").iterdir()
    state = (checkpoint / "state.json").read_text().replace(str(place.folder), "PLACE")
    yield from leaves(f"state {run.name}", json.loads(state))
    for path in sorted(checkpoint.glob("*.safetensors")):
        for key, tensor in _safetensors_header(path).items():
            yield from leaves(f"tensor {run.name} {path.stem} {key}", [tensor["dtype"], tensor["shape"]])


def _evaluation(run: Path) -> Iterator[Line]:
    """Lay out the figures of a run's last evaluation, if it had one, without what is said about them."""
    path = run / "evaluation.json"
    if path.is_file():
        figures = json.loads(path.read_text())
        figures.pop("verdict", None)
        yield from leaves(f"evaluation {run.name}", figures)


def _safetensors_header(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def _wire(place: Place) -> Iterator[Line]:
    """Sum openpi's messages: a fixed request by our client, and what `vita-serve` says to it."""
    pack = moved(PACK)
    numbers = [np.arange(6).reshape(2, 3).astype(kind) for kind in ("<f4", "<f8", "|u1", "<i8", "|b1")]
    plain = (None, True, -7, 70000, 0.5, "ä", b"b")
    yield summed("wire kinds", pack({"plain": plain, "arrays": numbers, "scalar": np.float32(1.5)}))
    images = {role: np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3) for role in ("primary", "wrist_right")}
    state = SimpleNamespace(values=np.linspace(-1, 1, 64, dtype=np.float32), mask=np.arange(64) % 2 == 0)
    request = pack(moved(QUESTION)(SimpleNamespace(images=images, state=state, instruction="pick up the cup")))
    yield summed("wire request", request)
    with (
        _serving(place, place.folder / "runs" / "finetune") as address,
        connect(address, proxy=None, open_timeout=_PATIENCE_S) as socket,
    ):
        yield summed("wire metadata", _bytes(socket.recv(_PATIENCE_S)))
        socket.send(request)
        answer = msgpack.unpackb(_bytes(socket.recv(_PATIENCE_S)), strict_map_key=False)
        answer["server_timing"] = dict.fromkeys(answer["server_timing"], 0.0)
        yield summed("wire answer", msgpack.packb(answer))


def _bytes(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise SystemExit(f"house_sums: vita-serve says {message}")
    return message


@contextmanager
def _serving(place: Place, run: Path) -> Iterator[str]:
    """Serve a run while inside; gives the address."""
    command = place.command("vita-serve", run, "--port", "0")
    with subprocess.Popen(command, cwd=ROOT, env=place.environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            found = (re.search(r"http://([\d.]+:\d+)", line) for line in server.stdout or ())
            address = next((one[1] for one in found if one), None)
            if address is None:
                raise SystemExit("house_sums: vita-serve ended before it served")
            yield f"ws://{address}"
        finally:
            server.terminate()


def main() -> int:
    """Write the sums or compare them; returns the exit code: 1 if something differs."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.house_sums", description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE", help="write the sums here")
    what.add_argument("--compare", type=Path, metavar="FILE", help="tell what differs from these sums")
    arguments = parser.parse_args()
    before = read(arguments.compare.read_text()) if arguments.compare else {}
    with tempfile.TemporaryDirectory(prefix="house-sums-") as folder:
        text = text_of(house_sums(make_place(Path(folder))))
    if arguments.out:
        arguments.out.write_text(text)
        return 0
    changed = list(differences(before, read(text)))
    print("\n".join([*changed, f"{len(changed)} of {len(before)} lines differ"]))
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
