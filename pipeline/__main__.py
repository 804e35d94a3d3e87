"""`python -m pipeline`, and the `pipeline` command."""

from __future__ import annotations

import sys

from pipeline.cli import main as _main


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(_main())


if __name__ == "__main__":
    main()
