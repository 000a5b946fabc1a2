"""`python -m pipelines.bench VERB`: what `vita-bench VERB` runs in a checkout."""

import sys

from pipelines.bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
