"""The command `kilonova`. Arguments only; each command is a file in `cli` and is loaded when it is used."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; `--version` needs nothing else."""
    if sys.argv[1:] == ["--version"]:
        from kilonova import __version__

        sys.stdout.write(f"kilonova {__version__}\n")
        return
    from kilonova.cli import run

    run()


if __name__ == "__main__":
    main()
