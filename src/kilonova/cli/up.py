"""Starting the cloud: in the foreground until Ctrl-C, or in the background."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

import click

from kilonova.cli.down import is_freed
from kilonova.cli.option import state_option
from kilonova.cli.report import Event, Relay, Report, read_events
from kilonova.core.errors import Failure, Unavailable
from kilonova.state import StateDir

ENDING: Final = 30.0
DYING: Final = 3.0
CONNECT: Final = 2.0


@click.command("up")
@state_option
@click.option("--port", type=click.IntRange(0, 65_535), help="Where to listen. [default: 8774]")
@click.option("--host", help="The address to listen on. [default: 127.0.0.1]")
@click.option("--driver", type=click.Choice(["libvirt", "fake"]), help="What guests run on. [default: libvirt]")
@click.option("--fake-hosts", type=click.IntRange(1, 20_000), help="How many hosts the fake driver simulates.")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="[default: STATE/kilonova.toml]"
)
@click.option("--detach", is_flag=True, help="Return once the cloud is ready; stop it with `kilonova down`.")
@click.option("--report-to", type=int, hidden=True)
def command(state: Path, config: Path | None, detach: bool, report_to: int | None, **given: Any) -> None:
    """Start the cloud: the whole control plane and this machine's node in one process."""
    state = state.resolve()
    if detach:
        _detach(state)
        return
    import uvloop

    relay = Relay(report_to) if report_to is not None else None
    report = relay or Report()
    try:
        uvloop.run(_serve(state, config, given, report))
    except Failure as failure:
        report.show(Event(kind="failed", text=failure.message))
        raise
    finally:
        if relay:
            relay.close()


async def _serve(state: Path, config: Path | None, given: dict[str, Any], report: Report | Relay) -> None:
    from kilonova.compose import build
    from kilonova.kit import config as configuration
    from kilonova.kit import log
    from kilonova.settings import Settings

    file = config or state / "kilonova.toml"
    settings = configuration.load(Settings, file, os.environ, "KILONOVA", {**given, "state": state})
    log.set_up(settings.log_level, None if isinstance(report, Relay) else _log_file(state))
    directory = StateDir(state)
    # Held until the process ends: whoever waits for it finds every file closed.
    directory.lock_prepared()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def tell(kind: str, text: str, fraction: float = 0.0, **facts: str) -> None:
        loop.call_soon_threadsafe(report.show, Event(kind=kind, text=text, fraction=fraction, facts=facts))

    cloud = await build(settings, directory, tell)
    try:
        await cloud.start()
        await asyncio.sleep(0)
        report.show(Event(kind="done", text="The cloud is ready", facts={"endpoint": cloud.url}))
        if isinstance(report, Report):
            _tell_ready(directory, cloud.url)
        await stop.wait()
    finally:
        await cloud.stop()
        directory.pid_file.unlink(missing_ok=True)


def _log_file(state: Path) -> TextIO:
    state.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state / "kilonova.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "a", buffering=1)


def _tell_ready(state: StateDir, url: str) -> None:
    root = shlex.quote(str(state.root))
    click.echo(f"kilonova is ready at {url}")
    click.echo(f"  source {root}/openrc        (or: export OS_CLIENT_CONFIG_FILE={root}/clouds.yaml)")


def _answers(endpoint: str) -> bool:
    """Whether something listens there."""
    at = urlsplit(endpoint)
    try:
        socket.create_connection((at.hostname or "", at.port or 0), CONNECT).close()
    except OSError:
        return False
    return True


def _detach(state: Path) -> None:
    """Start a child that outlives us, show its progress, and return when it is ready."""
    directory = StateDir(state)
    state.mkdir(parents=True, exist_ok=True)
    if (pid := directory.running()) is not None:
        where = directory.endpoint()
        if where and _answers(where):
            click.echo(f"kilonova runs already at {where}")
            return
        # One that was killed holds the directory until its last file is closed.
        if not is_freed(directory, DYING):
            click.echo(f"kilonova is starting already (process {pid})")
            return
    reading, writing = os.pipe()
    with _log_file(state) as log_file:
        argv = [a for a in sys.argv[1:] if a != "--detach"]
        child = subprocess.Popen(
            [sys.executable, "-m", "kilonova", *argv, "--report-to", str(writing)],
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
        )
    os.close(writing)
    report = Report()
    with os.fdopen(reading, "rb") as events:
        for event in read_events(events):
            report.show(event)
            if event.kind == "done":
                _tell_ready(directory, event.facts["endpoint"])
                return
            if event.kind == "failed":
                child.wait(ENDING)  # until then it holds the directory, and another `up` would take it for running
                raise Failure(event.text)
    code = child.wait()
    raise Unavailable(f"The cloud ended while it started (exit code {code}); its log: {directory.log_file}")
