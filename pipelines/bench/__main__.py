"""`python -m pipelines.bench VERB`: the implementation of `vita-bench VERB`."""

import sys

from pipelines.bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
