"""How a command ends: errors as one line on stderr, and its exit code."""

import os
import sys
from collections.abc import Callable

from vita_data.errors import VitaDataError


def exit_code(program: str, command: Callable[[], int | None], *, interrupted: str, remedy: str = "") -> int:
    """Run a command; returns its exit code.

    Args:
        program: whose name begins the line.
        command: gives a code of its own, or None for 0.
        interrupted: what is said of Ctrl-C.
        remedy: what is said to do about a fault of the machine.

    Returns:
        0 done, 1 data or files are bad or Ctrl-C, 2 a bad request.
    """
    try:
        code = command() or 0
        sys.stdout.flush()  # a reader that hung up is noticed here, not at exit
        return code
    except VitaDataError as fault:
        print(f"{program}: {fault}", file=sys.stderr)
        return fault.exit_code
    except BrokenPipeError:
        # Whoever read our output hung up (`| head`): nothing more can be said, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        print(f"{program}: {where}{fault.strerror or fault}{remedy and '; '}{remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: {interrupted}", file=sys.stderr)
        return 1
