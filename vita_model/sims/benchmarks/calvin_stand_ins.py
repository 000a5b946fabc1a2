"""Stand-ins for what CALVIN's evaluation imports but does not use, and for the one hash function that it does use.

The requirements of `calvin_agent` (torch 1.13, pytorch-lightning 1.8, an old pyhash) cannot share an environment with
ours. Its evaluation needs none of them to place a scene or to draw instruction chains.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def stand_ins() -> Iterator[None]:
    """Provide the modules while CALVIN's evaluation is imported; they are removed afterwards.

    Models are always replaced; torch, termcolor and pyhash only if they are not installed.
    """
    unused = [
        _module("calvin_agent.models.mcil", MCIL=None),
        _module("calvin_agent.utils.utils", add_text=None, format_sftp_path=None),
    ]
    needed = [_module("pyhash", fnv1_32=lambda: fnv1_32), _module("torch", Tensor=type(None)), _module("termcolor")]
    missing = [module for module in needed if not _is_available(module.__name__)]
    added = {module.__name__: module for module in unused + missing}
    before = {name: sys.modules[name] for name in added if name in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
        sys.modules.update(before)


def fnv1_32(value: str | bytes) -> int:
    """Hash as `pyhash.fnv1_32()` does; CALVIN seeds the start scene of a chain with it.

    Source: pyhash 0.9.3. Unlike the published FNV-1 its value starts at 0, and a `str` is hashed as UTF-16-LE without
        a byte order mark.
    """
    number = 0
    for byte in value.encode("utf-16-le") if isinstance(value, str) else value:
        number = (number * 0x01000193) % (1 << 32) ^ byte
    return number


def _is_available(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _module(name: str, **content: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module
