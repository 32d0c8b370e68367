"""`python -m lowq` is the command `lowq`."""

import sys

from lowq.cli import main

if __name__ == "__main__":
    sys.exit(main())
