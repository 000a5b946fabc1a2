"""How this package was installed, where its manifests and recipes lie, and how one of its extras is installed."""

import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vita_data.errors import MissingExtraError, did_you_mean

DISTRIBUTION = "vita-vla"
_PACKAGES = Path(__file__).resolve().parents[1]
"""The folder with vita_data and vita_model: a checkout, or site-packages."""
EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "safetensors", "huggingface_hub", "tokenizers", "tensorboard"), "train"),
    **dict.fromkeys(("msgpack", "websockets"), "serve"),
}
"""Packages that only an extra of this distribution installs, with the extra."""


def extra_of(fault: ModuleNotFoundError) -> str | None:
    """Return which extra installs the package whose import failed; None if none does."""
    return EXTRAS.get((fault.name or "").partition(".")[0])


@contextmanager
def naming_extra() -> Iterator[None]:
    """Name the extra to install if an import inside lacks one of its packages.

    Raises:
        MissingExtraError: a package is not installed; the message has the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as fault:
        extra = extra_of(fault)
        if extra is None or isinstance(fault, MissingExtraError):
            raise
        raise MissingExtraError(f"{fault.name} is not installed; {install_extra(extra)}", name=fault.name) from fault


def install_extra(extra: str) -> str:
    """Return the command that installs one extra, or several separated by commas, of this installation.

    The distribution is on no package index (`vita` there is another project), so it is installed again from the place
    that it came from, which pip has noted.
    """
    if not (_PACKAGES / "pyproject.toml").is_file():
        origin = _origin()
        if origin.startswith("file://") and (folder := Path(origin.removeprefix("file://"))).is_dir():
            return f"run: pip install '{folder}[{extra}]'"
        if origin:
            return f"run: pip install '{DISTRIBUTION}[{extra}] @ {origin}'"
    return f"in your checkout of VITA run: pip install -e '.[{extra}]'"


def _origin() -> str:
    """Return the URL that pip installed this distribution from; empty if it is not known."""
    try:
        noted = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return ""
    origin = json.loads(noted or "{}")
    commit = origin.get("vcs_info", {})
    url = str(origin.get("url", ""))
    return f"{commit['vcs']}+{url}@{commit['commit_id']}" if commit else url


@dataclass(frozen=True, slots=True)
class ShippedFiles:
    """Files that come with the package and have names: a checkout keeps them elsewhere than an installed package."""

    kind: str
    """What one of them is called in messages."""
    in_checkout: str
    in_package: str
    suffix: str

    @property
    def folder(self) -> Path:
        """The folder that has them."""
        installed = _PACKAGES / self.in_package
        return installed if installed.is_dir() else _PACKAGES / self.in_checkout

    def names(self) -> list[str]:
        """List their names."""
        return sorted(path.stem for path in self.folder.glob(f"*{self.suffix}") if path.stem != "__init__")

    def find(self, text: str) -> Path | None:
        """Find one by its name, or by its path in the checkout; None if there is none."""
        name = text.removeprefix(f"{self.in_checkout}/").removesuffix(self.suffix)
        return self.folder / f"{name}{self.suffix}" if name in self.names() else None

    def hint(self, text: str) -> str:
        """Return the end of a message about a name that is unknown; empty if the text is a path of another place."""
        name = text.removeprefix(f"{self.in_checkout}/")
        stem, has_folder = name.removesuffix(self.suffix), "/" in name
        known = f"; {self.kind}s that come with VITA: {', '.join(self.names())}"
        near = did_you_mean(stem, self.names())
        return "" if has_folder else f"; {near}" if near else known


MANIFESTS = ShippedFiles("manifest", "manifests", "vita_data/_manifests", ".toml")
