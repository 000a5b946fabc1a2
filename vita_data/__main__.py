"""`python -m vita_data` is the command `vita-data`."""

import sys

from vita_data.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
