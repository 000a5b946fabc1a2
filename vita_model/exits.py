"""How a command ends: errors as one line on stderr, and its exit code."""

import sys
from collections.abc import Callable

from vita_data.errors import VitaDataError


def exit_code(program: str, command: Callable[[], None], *, interrupted: str) -> int:
    """Run a command: 0 done, 1 data or files are bad or Ctrl-C (which `interrupted` is said of), 2 a bad request."""
    try:
        command()
    except VitaDataError as fault:
        print(f"{program}: {fault}", file=sys.stderr)
        return fault.exit_code
    except OSError as fault:
        print(f"{program}: {fault.filename or 'files'}: {fault.strerror or fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: {interrupted}", file=sys.stderr)
        return 1
    return 0
