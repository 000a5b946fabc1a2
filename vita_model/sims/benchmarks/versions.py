"""Versions of simulators, for results: two numbers are compared only if the same code made them."""

import importlib.metadata
import subprocess
from pathlib import Path


def package_versions(*modules: str) -> dict[str, str]:
    """Look up the distributions that installed some modules: name -> version."""
    owners = importlib.metadata.packages_distributions()
    names = [owners.get(module, [module])[0] for module in modules]
    return {name: _version(name) for name in names}


def clone_commit(folder: Path) -> str:
    """Look up the commit of the clone that a folder belongs to; `unknown` if it is not a clone."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
