"""The operator's commands, one file each; nothing is imported before it is needed."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

COMMANDS: Final = {
    "up": "Start the cloud.",
    "down": "Stop the cloud; guests' disks are kept.",
    "clean": "Remove every trace of the cloud from this machine.",
    "hello": "Boot a first server and show that it lives.",
    "ssh": "Log in to a server.",
    "status": "Show hosts, servers and operations.",
    "story": "Tell what happened to a server, step by step.",
    "events": "Tell what happens to servers, as it happens.",
    "explain": "Say where a server would go, and why not elsewhere.",
    "doctor": "Look for anything that should not be there.",
    "image": "Work with images.",
    "host": "Prepare this machine.",
    "identity": "Look after identity's keys.",
}


class Lazy(click.Group):
    """A group whose commands are modules of the same name here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if ctx.protected_args != [cmd_name] and "--help" in sys.argv[1:2]:
            return click.Command(cmd_name, help=COMMANDS[cmd_name])
        command: click.Command = importlib.import_module(f"kilonova.cli.{cmd_name}").command
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """kilonova turns machines into a cloud."""


def run() -> None:
    """Run, and turn every expected failure into one line that says what to do."""
    from kilonova.core.errors import Failure

    try:
        main.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Failure as failure:
        click.echo(f"kilonova: {failure.message}", err=True)
        sys.exit(1)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        click.echo(f"kilonova: {error.strerror or error}{where}", err=True)
        sys.exit(1)
