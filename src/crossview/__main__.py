"""``python -m crossview`` is ``crossview``."""

import sys

from crossview.cli import main

if __name__ == "__main__":  # spawned workers import this file again and must do nothing
    sys.exit(main())
