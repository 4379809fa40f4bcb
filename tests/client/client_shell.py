"""The real openstackclient, loaded once: each command runs in a fork of this process, as fresh as a new `openstack`.

Loading the client costs 0.9 CPU s, a command 0.1. Reads one JSON line a command from stdin, `[arguments, input, output,
errors]` (the last three are files), and answers its exit code. A fork runs what the console script `openstack` runs;
the script itself is run where a test is about the process. One process for all commands would be faster still, but
there the client goes on with the first user's token.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import traceback

from openstackclient.shell import main as openstack


def run(arguments: list[str], *files: str) -> int:
    """One command in a fork, with its own standard streams; answers the exit code."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 70
    try:
        for number, file in enumerate(files):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(file, flags, 0o600), number)
        sys.stdin = io.TextIOWrapper(io.FileIO(0))  # the old one has read ahead
        code = openstack(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    # Loads every plug-in, and no client that a fork could inherit.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        openstack(["server", "list", "--help"])
    logging.getLogger().handlers.clear()
    for line in sys.stdin:
        arguments, *files = json.loads(line)
        sys.stdout.write(f"{run(arguments, *files)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
