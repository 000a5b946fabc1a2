"""Runs this checkout's commands in processes of their own, for `pipelines.house_sums`.

    python -m pipelines.house_place COMMAND WORD...     as COMMAND WORD..., but `--help` prints facts as JSON

Everything comes from this checkout, whatever is installed: an editable installation finds modules that this checkout
no longer has, and would hide that something still imports a module under its old name.
"""

import argparse
import inspect
import json
import os
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMANDS = ("vita-data", "vita-train", "vita-eval", "vita-serve", "vita-bench")
BENCH = "pipelines.bench"
"""Where `vita-bench` is started from when it is no installed command."""

# What is imported here from inside the packages: the names it had and has, the first that is there is taken.
Names = tuple[str, ...]
ERROR: Names = ("vita_data.errors:VitaDataError", "vita_data.errors:VitaError")
LOAD_MANIFEST: Names = ("vita_data.manifest:load_manifest",)
PLAN: Names = ("vita_data.loader:Plan", "vita_data.loader.order:Plan", "vita_data.loader.order.plan:Plan")
PACK: Names = ("vita_model.openpi:pack", "vita_model.policy.openpi:pack")
QUESTION: Names = ("vita_model.sims.client:question", "vita_model.policy.client:question")

_FOREIGN = ("VITA_", "WANDB_", "RAY_", "WORLD_SIZE", "LOCAL_RANK", "RANK", "PYTHON")
"""How names of variables begin that would change what a command does."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a process ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Place:
    """A scratch folder, and the environment in which commands run there."""

    folder: Path
    environment: Mapping[str, str]

    def command(self, name: str, *words: str | Path) -> list[str]:
        """Write out how a command is started."""
        return [sys.executable, "-m", "pipelines.house_place", name, *map(str, words)]

    def ended(self, name: str, *words: str | Path) -> Done:
        """Run a command to its end, however it ends."""
        done = subprocess.run(
            self.command(name, *words), cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def output(self, name: str, *words: str | Path) -> str:
        """Run a command that must succeed, and give what it printed; raises SystemExit."""
        done = self.ended(name, *words)
        if done.code:
            raise SystemExit(f"{done.err}house_sums: {name} {' '.join(map(str, words))} ended with code {done.code}")
        return done.out


def make_place(folder: Path) -> Place:
    """Set up a place in an empty folder."""
    site = folder / "site"
    _write_site(site)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    # One thread and no GPU: sums of floating numbers must not depend on how work is shared out.
    fixed = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return Place(folder, {**kept, **fixed, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"})


def drop_editable_finders() -> None:
    """Forget the finders of editable installations."""
    sys.meta_path[:] = [one for one in sys.meta_path if "Editable" not in getattr(one, "__name__", type(one).__name__)]


def moved(names: Names) -> Any:
    """Import what has one of these names in this checkout."""
    drop_editable_finders()
    for name in names:
        module, _, attribute = name.partition(":")
        try:
            found = import_module(module)
        except ModuleNotFoundError as fault:
            if not fault.name or not f"{module}.".startswith(f"{fault.name}."):
                raise  # the module is there, and what it imports is not
            continue
        if not Path(found.__file__ or "").is_relative_to(ROOT):
            raise ImportError(f"{module} comes from {found.__file__}, outside of {ROOT}")
        if hasattr(found, attribute):
            return getattr(found, attribute)
    raise ImportError(f"nothing is called {' or '.join(names)}; add its new name to {__name__}")


def _project() -> Mapping[str, Any]:
    project: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def _write_site(site: Path) -> None:
    """Write what every process imports at its start, and this checkout's entry points for those of an installation."""
    package = site / "vita_vla-0.dist-info"
    package.mkdir(parents=True)
    source = inspect.getsource(drop_editable_finders)
    (site / "sitecustomize.py").write_text(f"import sys\n\n{source}\ndrop_editable_finders()\n")
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: vita-vla\nVersion: 0\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in points.items())])
        for group, points in _project().get("entry-points", {}).items()
    ]
    (package / "entry_points.txt").write_text("\n".join(groups) + "\n")


def _start(name: str) -> int | None:
    """Run a command in this process, as its script would."""
    scripts = _project().get("scripts", {})
    if name == "vita-bench" and name not in scripts:
        runpy.run_module(BENCH, run_name="__main__", alter_sys=True)
        return None
    module, _, function = scripts[name].partition(":")
    code: int | None = getattr(import_module(module), function)()
    return code


def _print_facts(
    action: argparse.Action, parser: argparse.ArgumentParser, namespace: object, values: object, option: object = None
) -> None:
    """Print what a parser takes, in place of its help; nothing of it is prose."""
    subparsers = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    options = {",".join(one.option_strings): _facts(one) for one in parser._actions if one.option_strings}
    positionals = [_facts(one) for one in parser._actions if not one.option_strings and one not in subparsers]
    exclusive = [
        sorted("".join(one.option_strings) for one in group._group_actions)
        for group in parser._mutually_exclusive_groups
    ]
    print(
        json.dumps(
            {
                "verbs": sorted(name for one in subparsers for name in one.choices),
                "options": options,
                "positionals": {str(number): facts for number, facts in enumerate(positionals, start=1)},
                "exclusive": exclusive,
            }
        )
    )
    parser.exit()


def _facts(action: argparse.Action) -> Mapping[str, object]:
    """Say of an argument what is not as it is for most."""
    facts = {
        "action": type(action).__name__,
        "nargs": action.nargs,
        "required": action.required or None,
        "choices": None if action.choices is None else [str(one) for one in action.choices],
        "default": None if action.default in (None, argparse.SUPPRESS) else str(action.default),
    }
    return {name: value for name, value in facts.items() if value is not None}


def main(argv: Sequence[str]) -> int | None:
    """Run a command; returns its exit code."""
    drop_editable_finders()
    argparse._HelpAction.__call__ = _print_facts  # type: ignore[assignment,method-assign]
    sys.argv = list(argv)
    return _start(argv[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
