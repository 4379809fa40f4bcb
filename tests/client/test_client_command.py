"""Our own command line as a user meets it: up and down, side by side, without root, and what it says when it cannot."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_cloud import BIN, Cloud, free_of_clouds, kilonova

pytestmark = pytest.mark.client

FAKE = "--driver fake --port 0"
FIRST_SCHEMA = Path(__file__).parents[1] / "store" / "schema_0001.sql"
# A user without privileges who may still read this Python, wherever root has put it.
NOBODY = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--bounding-set=-all,+dac_read_search"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may reach; clouds below it are gone at the end."""
    path = Path(tempfile.mkdtemp(prefix="client-"))
    path.chmod(0o755)
    yield path
    for mark in sorted(path.rglob("cloud-uuid")):
        kilonova(f"clean --yes --state {mark.parent}")
    shutil.rmtree(path)


def test_a_second_up_finds_the_cloud_running(cloud: Cloud) -> None:
    pid = (cloud.state / "kilonova.pid").read_text()
    endpoint = (cloud.state / "endpoint").read_text().strip()
    assert f"kilonova runs already at {endpoint}" in cloud.own("up", f"--detach {FAKE}")
    assert "Another kilonova runs on" in cloud.own("up", FAKE, code=1)
    assert (cloud.state / "kilonova.pid").read_text() == pid


def test_an_up_right_after_a_sudden_end_starts_the_cloud(place: Path) -> None:
    """A process that was killed holds the directory for a moment more, and answers nobody."""
    state = place / "cloud"
    kilonova(f"up --detach {FAKE} --state {state}")
    os.kill(int((state / "kilonova.pid").read_text()), signal.SIGKILL)
    holding = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(); time.sleep(1.5)"
    with subprocess.Popen([sys.executable, "-uc", holding, str(state / "lock")], stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        dying.stdout.readline()
        assert "kilonova is ready at" in kilonova(f"up --detach {FAKE} --state {state}")
    kilonova(f"down --state {state}")


def test_clouds_side_by_side_and_again_after_down(cloud: Cloud) -> None:
    other = Cloud(f"{FAKE} --fake-hosts 1")
    try:
        boot = "server create --image kilonova-guest --flavor m1.nano --network private"
        other.tell(f"{boot} stays")
        before = other.wait("stays", "ACTIVE")
        assert (other.state / "endpoint").read_text() != (cloud.state / "endpoint").read_text()
        assert "stays" not in cloud.column("server list", "Name")
        assert "1 active" in other.own("status")
        assert "it would go to fake-1" in other.own("explain", "--flavor m1.nano")
        assert re.search(r"create: done in [0-9.]+ s .*\n +place +success.* on fake-1", other.own("story", "stays"))

        assert "kilonova is stopped" in other.own("down")
        assert "kilonova does not run" in other.own("down")
        port = (other.state / "endpoint").read_text().strip().rpartition(":")[2]
        assert "does not answer. Start it with: kilonova up" in other.own("status", code=1)
        told = other.own("up", f"--detach --driver fake --port {port}")
        assert "Registered" not in told
        after = other.wait("stays", "ACTIVE")
        assert (after["id"], after["updated"]) == (before["id"], before["updated"])
        assert "simulated guests have none" in other.own("ssh", "stays", code=1)
        other.tell("server delete --wait stays")
    finally:
        other.close()
    assert not other.state.exists()


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "down")])
def test_in_the_foreground_until_told_to_stop(place: Path, number: int, name: str) -> None:
    argv = [BIN / "kilonova", "up", "--state", place / "cloud", *FAKE.split()]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=free_of_clouds())
    assert process.stdout is not None
    assert any("kilonova is ready at" in line for line in process.stdout), name
    assert "servers: none" in kilonova(f"status --state {place}/cloud")
    process.send_signal(number)
    assert process.wait(20) == 0
    process.stdout.close()
    assert not (place / "cloud/kilonova.pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_without_root_hosts_are_simulated_or_it_says_what_to_do(place: Path) -> None:
    home = place / "home"
    home.mkdir()
    shutil.chown(home, "nobody")
    environ = {"HOME": str(home)}
    said = kilonova("up --port 0", 1, environ, NOBODY)
    assert "Run as root, or simulate hosts: kilonova up --driver fake" in said
    assert "Run as root" in kilonova("up --detach --port 0", 1, environ, NOBODY)
    kilonova(f"up --detach {FAKE}", 0, environ, NOBODY)
    state = home / ".local/share/kilonova"
    pid = (state / "kilonova.pid").read_text().strip()
    assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    # Whoever may read the directory uses the cloud: root here.
    assert "servers: none" in kilonova(f"status --state {state}")
    client = subprocess.run(
        [BIN / "openstack", "--os-cloud", "kilonova-demo", "server", "list", "-f", "json"],
        env={**free_of_clouds(), "OS_CLIENT_CONFIG_FILE": str(state / "clouds.yaml")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert client.stdout.strip() == "[]"
    assert {p.name for p in state.rglob("*") if p.stat().st_uid == 0} == set()
    assert "removed" in kilonova("clean --yes", 0, environ, NOBODY)
    assert not state.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_somebody_elses_cloud_is_refused_in_one_line(cloud: Cloud) -> None:
    for words in (f"up --detach {FAKE}", "down", "clean --yes"):
        said = kilonova(f"{words} --state {cloud.state}", 1, None, NOBODY)
        assert said == f"kilonova: Permission denied: {cloud.state}/lock\n"
    for secret in ("clouds.yaml", "openrc", "openrc-demo", "kilonova.log", "secrets", "keys", "images"):
        assert (cloud.state / secret).stat().st_mode & 0o077 == 0, secret


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("colour = 1", "has unknown settings: colour"),
        ("port = [", "is not valid TOML"),
        ('fake_hosts = "many"', "A setting is wrong: Expected `int`, got `str` - at `$.fake_hosts`"),
        ('driver = "xen"', "A setting is wrong: Invalid enum value 'xen' - at `$.driver`"),
    ],
)
def test_wrong_settings_are_named(place: Path, settings: str, said: str) -> None:
    file = place / "cloud.toml"
    file.write_text(settings + "\n")
    assert said in kilonova(f"up --state {place}/cloud --config {file}", 1)
    assert said in kilonova(f"up --state {place}/cloud --config {file} --detach", 1)
    assert not (place / "cloud/cloud-uuid").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("up --port 99999", 2, "99999 is not in the range 0<=x<=65535"),
        ("up --config /nonexistent", 2, "File '/nonexistent' does not exist"),
        ("up --driver xen", 2, "'xen' is not one of 'libvirt', 'fake'"),
        ("up --fake-hosts 0", 2, "0 is not in the range 1<=x<=20000"),
        ("status", 1, "There is no cloud in STATE. Start one with: kilonova up --state STATE"),
        ("down", 0, "kilonova does not run"),
        ("clean --yes", 0, "There is no cloud in STATE"),
        ("hello", 1, "There is no cloud in STATE"),
        ("explain", 2, "Missing option '--flavor'"),
    ],
)
def test_a_command_that_cannot_says_why(tmp_path: Path, words: str, code: int, said: str) -> None:
    state = tmp_path / "none"
    assert said.replace("STATE", str(state)) in kilonova(f"{words} --state {state}", code)
    assert not state.exists()


def test_what_is_not_there_is_named(cloud: Cloud) -> None:
    assert "There is no server nope" in cloud.own("story", "nope", code=1)
    assert "There is no server nope" in cloud.own("ssh", "nope", code=1)
    assert "Flavor nope could not be found" in cloud.own("explain", "--flavor nope", code=1)
    assert "Instance 00000000-0000-0000-0000-000000000000 could not be found" in cloud.own(
        "story", "00000000-0000-0000-0000-000000000000", code=1
    )
    assert "No such command 'fly'" in kilonova("fly", 2)


def test_events_are_told_line_by_line(cloud: Cloud) -> None:
    made = cloud.show("server create --image kilonova-guest --flavor m1.nano --nic none --wait seen")
    told = cloud.own("events", "--server seen --after 0 --limit 4").splitlines()
    assert [line.split(maxsplit=5)[3:5] for line in told] == [
        [made["id"], "server.created"], *[[made["id"], "server.state"]] * 3,
    ]  # fmt: skip
    assert re.search(r"building\.spawning → active on fake-\d$", told[-1])
    cloud.tell("server delete --wait seen")
    assert "There is no server seen" in cloud.own("events", "--server seen", code=1)


def test_a_taken_port_is_named_and_the_directory_is_free_again(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for more in ("", "--detach"):
            said = kilonova(f"up --state {place}/cloud --driver fake --port {port} {more}", 1)
            assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in said
    assert "kilonova is ready" in kilonova(f"up --state {place}/cloud --driver fake --port {port} --detach")


def test_a_database_of_another_version(place: Path) -> None:
    """That of a newer kilonova is left alone."""
    kilonova(f"up --state {place}/cloud {FAKE} --detach")
    kilonova(f"down --state {place}/cloud")

    def note(version: str) -> None:
        with sqlite3.connect(place / "cloud/kilonova.db") as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))

    note("9999_to_come")
    for more in ("", "--detach"):
        said = kilonova(f"up --state {place}/cloud {FAKE} {more}", 1)
        assert "The database belongs to a newer kilonova (schema 9999_to_come" in said


def test_a_database_of_the_first_version_is_brought_forward(place: Path) -> None:
    kilonova(f"up --state {place}/cloud {FAKE} --detach")
    kilonova(f"down --state {place}/cloud")
    for file in place.glob("cloud/kilonova.db*"):
        file.unlink()
    with sqlite3.connect(place / "cloud/kilonova.db") as database:
        database.executescript(FIRST_SCHEMA.read_text())
    database.close()
    told = kilonova(f"up --state {place}/cloud {FAKE} --detach")
    assert "Migrated the database from 0001_initial to " in told
    assert "kilonova is ready" in told


def test_help_and_version() -> None:
    began = time.process_time()
    assert re.fullmatch(r"kilonova \d+\.\d+\.\d+\S*\n", kilonova("--version"))
    assert time.process_time() - began < 1
    commands = [
        "up",
        "down",
        "clean",
        "hello",
        "ssh",
        "status",
        "story",
        "events",
        "explain",
        "doctor",
        "image",
        "host",
    ]
    told = kilonova("--help")
    assert [c for c in commands if f"\n  {c} " not in told] == []
    for command in commands:
        assert "Usage: kilonova" in kilonova(f"{command} --help")
    assert "--output" in kilonova("image build-guest --help")
    done = subprocess.run([sys.executable, "-m", "kilonova", "--help"], capture_output=True, text=True, check=True)
    assert "turns machines into a cloud" in done.stdout
