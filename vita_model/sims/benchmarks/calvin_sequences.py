"""The benchmark's 1000 instruction chains: drawn once by CALVIN's own code, which takes minutes, then kept on disk."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vita_data.storage.files import write_atomically
from vita_model.sims.benchmarks.calvin_stand_ins import stand_ins
from vita_model.sims.benchmarks.guard import run_python
from vita_model.sims.benchmarks.offline_import import load

NUM_CHAINS = 1000
NUM_INSTRUCTIONS = 5
_MODULE = "calvin_agent.evaluation.multistep_sequences"

Chain = tuple[Mapping[str, str | int], Sequence[str]]
"""Initial condition and the names of the tasks."""


def chains(agent: Path, report: Callable[[str], None], *, benchmark: str, remedy: str) -> list[Chain]:
    """Read the chains from the user's cache, or have them drawn and keep them there.

    Args:
        agent: folder of the package `calvin_agent`; another version of its code has other chains.
        report: told before the chains are drawn.
        benchmark: name in errors.
        remedy: what errors say the user can do.

    Raises:
        RequestError: CALVIN's code fails.
    """
    kept = _kept(agent)
    with suppress(OSError, ValueError):
        return _parsed(kept.read_text())
    report(f"drawing CALVIN's {NUM_CHAINS} instruction chains; this takes one to three minutes, only this once")
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / kept.name
        program = f"from {__name__} import write_chains; write_chains()"
        run_python(program, str(drawn), benchmark=benchmark, what=f"drawing chains with {agent}", remedy=remedy)
        text = drawn.read_text()
    with suppress(OSError):  # without a cache they are drawn again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, text.encode())
    return _parsed(text)


def write_chains() -> None:
    """Draw the chains and write them to the file `sys.argv[1]`: the program of a child process."""
    with stand_ins():
        sequences = load(_MODULE, benchmark="CALVIN", remedy="see above")
    drawn = sequences.get_sequences(NUM_CHAINS)
    Path(sys.argv[1]).write_text(json.dumps([[dict(condition), list(tasks)] for condition, tasks in drawn]))


def _kept(agent: Path) -> Path:
    source = agent / "evaluation" / "multistep_sequences.py"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12] if source.is_file() else "unknown"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vita" / f"calvin-chains-{digest}.json"


def _parsed(text: str) -> list[Chain]:
    found: list[Chain] = [(dict(condition), tuple(tasks)) for condition, tasks in json.loads(text)]
    if len(found) != NUM_CHAINS or any(len(tasks) != NUM_INSTRUCTIONS for _, tasks in found):
        raise ValueError(f"expected {NUM_CHAINS} chains of {NUM_INSTRUCTIONS} tasks")
    return found
