"""What the five commands take, and the exit codes of right and wrong calls, for `pipelines.house_sums`."""

import json
import shutil
from collections.abc import Iterator

from pipelines.house_lines import Line, leaves
from pipelines.house_place import COMMANDS, Place

_NO_SUBPARSERS = {"vita-train": ("params", "export", "preview")}
"""Verbs that the parser of a command does not list."""
_CALLS = """
vita-data
vita-data biuld
vita-data build --source brigde --raw {raw}/bridge --out {absent}
vita-data build --source bridge --raw {absent} --out {absent}
vita-data build --source bridge --raw {raw}/bridge --out {raw}/bridge/out
vita-data build --source bridge --raw {raw}/bridge --out {absent}/a --rank 2 --num-ranks 2
vita-data build --source bridge --raw {raw}/bridge --out {absent}/b --set min_frame=1
vita-data build --source bridge --raw {raw}/bridge --out {folder}/nothing --set min_frames=9999
vita-data build --source bridge --raw {raw}/bridge --out {shards} --frames all
vita-data build --source bridge --raw {raw}/bridge --out {shards} --frames all --limit 1
vita-data build --source bridge --raw {raw}/bridge --out {shards} --frames some
vita-data status {shards}/bridge
vita-data status {absent}
vita-data probe --source bridge --raw {raw}/bridge
vita-data probe --source bridge --raw {raw}/libero
vita-data toy --source all --raw {raw}
vita-data toy --source bridge --raw {file}
vita-data sources brigde
vita-data mix manifests/toy.toml --shards {shards}
vita-data mix manifests/toy.toml --shards {absent}/d
vita-data mix {file} --shards {shards}
vita-data stats {shards}/bridge
vita-data verify {shards}/bridge
vita-data verify {shards}
vita-data verify {damaged}
vita-data inspect {shards}/bridge --html {folder}/inspect.html
vita-data inspect {shards}/bridge --clip absent --html {folder}/inspect.html
vita-data report {shards} --run {runs}/warmup --html {folder}/report.html
vita-data report {shards} --html {absent}/e/report.html
vita-train
vita-train parms {recipe}
vita-train {recipe} --shards {shards} --out {runs}/warmup
vita-train {recipe} --shards {shards} --out {absent}/f --steps 0
vita-train {recipe} --shards {shards} --out {absent}/f --stpes 3
vita-train {recipe} --shards {shards} --out {absent}/f --set sed=1
vita-train {recipe} --shards {shards} --out {absent}/f --set optimizer.lr=fast
vita-train {recipe} --shards {absent}/f --out {absent}/g
vita-train {file} --shards {shards} --out {absent}/g
vita-train params {recipe}
vita-train params {recipe} --ranks 0
vita-train export {runs}/finetune {folder}/policy
vita-train export {runs} {absent}/g
vita-train preview {runs}/cotrain --shards {shards} --source bridge --out {folder}/preview.jpg
vita-train preview {runs}/warmup --shards {shards} --source bridge --out {folder}/preview.jpg
vita-serve {absent}
vita-serve {runs}/finetune --port 70000
vita-serve {runs}/finetune --device gpu
vita-serve {runs}/finetune --convention libro
vita-serve {runs}/warmup
vita-eval
vita-eval libro
vita-eval robosuite evaluate --task lift --policy {absent} --out {absent}/h
vita-eval robosuite evaluate --task lift --policy random --episodes none --out {absent}/h
vita-eval table {absent}/result.json
vita-eval table {file}
vita-eval trials {absent}
vita-bench
vita-bench trian
vita-bench train {file}
vita-bench train {recipe} --steps 0 --batch-size 1
vita-bench train {recipe} --batch-size 0
vita-bench latency --preset tiny --runs 1 --horizons 4
vita-bench latency --preset tyni
vita-bench latency --horizons 4,x
vita-bench serve --preset tiny --policy {runs}/finetune
vita-bench serve --requests 1
vita-bench build --dir {file}
vita-bench loader --dir {file}
vita-bench loader --quick
"""
"""Right and wrong calls; `absent` stays absent, and none needs a simulator."""


def options(place: Place) -> Iterator[Line]:
    """List what every command and verb takes, and the settings of every source."""
    left = list(COMMANDS)
    while left:
        name = left.pop()
        facts = json.loads(place.output(*name.split(), "--help"))
        left += [f"{name} {verb}" for verb in (*facts["verbs"], *_NO_SUBPARSERS.get(name, ()))]
        yield from leaves(f"options of {name}", facts["options"])
        yield from leaves(f"positionals of {name}", facts["positionals"])
        yield from leaves(f"exclusive options of {name}", facts["exclusive"])
    for source in json.loads(place.output("vita-data", "sources", "--json")):
        yield from leaves(f"setting {source['name']}", source["settings"])


def exit_codes(place: Place) -> Iterator[Line]:
    """Make right and wrong calls of every command."""
    folder = place.folder
    names = {"folder": folder, "raw": folder / "raw", "shards": folder / "all", "runs": folder / "runs"}
    names |= {"absent": folder / "absent", "file": folder / "file", "damaged": folder / "damaged" / "bridge"}
    names["file"].write_text("no recipe, no manifest, no result\n")
    shutil.copytree(names["shards"] / "bridge", names["damaged"])
    tar = next((names["damaged"] / "train").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    for call in _CALLS.strip().splitlines():
        words = call.format(recipe="pipelines/recipes/debug_warmup.py", **names).split()
        done = place.ended(*words)
        yield Line(f"exit {call}", "traceback" if "Traceback (most recent" in done.err else str(done.code))
