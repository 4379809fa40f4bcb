"""Each kind of orphan is planted, in the rows and in the world, and the doctor names it."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cloud import RealCloud, Server, domains, run, virsh

from kilonova.node.driver.virt.domain_xml import NAMESPACE

pytestmark = pytest.mark.vm


def new_id() -> str:
    return str(uuid.uuid4())


@contextmanager
def database(cloud: RealCloud) -> Iterator[sqlite3.Connection]:
    """The rows, while the cloud is down."""
    with closing(sqlite3.connect(cloud.state / "kilonova.db")) as rows:
        rows.row_factory = sqlite3.Row
        yield rows
        rows.commit()


def copy(rows: sqlite3.Connection, table: str, column: str, value: str, **changes: object) -> None:
    """A row like one that is there."""
    (row, *_) = rows.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))
    values = {**dict(row), **changes}
    marks = ", ".join("?" * len(values))
    rows.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def test_the_doctor_names_every_planted_row(cloud: RealCloud, alpha: Server) -> None:
    claim, charge, server_of_port, port, lock, host = (new_id() for _ in range(6))
    debt, guest, operation = (new_id() for _ in range(3))

    def plant() -> None:
        with database(cloud) as rows:
            copy(rows, "host_claim", "consumer", f"server:{alpha['id']}", consumer=f"server:{claim}")
            copy(rows, "quota_charge", "consumer", f"server:{alpha['id']}", consumer=f"server:{charge}")
            changed = {"id": port, "device_id": server_of_port, "mac": "fa:16:3e:00:00:01", "host_id": ""}
            copy(rows, "network_port", "device_id", alpha["id"], **changed)
            rows.execute("INSERT INTO operation_lock VALUES ('server', ?, ?)", (lock, operation))
            rows.execute("INSERT INTO host_debt VALUES (?, ?, 1, 1)", (host, debt))
            copy(rows, "guest", "server_id", alpha["id"], server_id=guest, host_id=host)

    def weed() -> None:
        with database(cloud) as rows:
            for table, column, value in (
                ("host_claim", "consumer", f"server:{claim}"),
                ("quota_charge", "consumer", f"server:{charge}"),
                ("network_port", "id", port),
                ("operation_lock", "id", lock),
                ("host_debt", "server_id", debt),
                ("guest", "server_id", guest),
            ):
                assert rows.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,)).rowcount == 1, table

    cloud.restart(meanwhile=plant)
    told = cloud.daemon.doctor()
    named = (
        f"claim server:{claim}", f"quota server:{charge}", f"port {port}", f"lock server/{lock}", f"debt {debt}",
        f"guest {guest}",
    )  # fmt: skip
    assert [words for words in named if words not in told] == [], told
    assert "the host's use is not the sum of its claims" in told
    cloud.restart(meanwhile=weed)
    assert "All is well" in (told := cloud.daemon.doctor()), told


def define(cloud: RealCloud, server_id: str, place: Path) -> str:
    """A domain with this cloud's name and metadata."""
    name = f"kn-{cloud.cloud_id}-{server_id}"
    place.write_text(
        f"<domain type='qemu'><name>{name}</name><uuid>{server_id}</uuid><metadata>"
        f"<k:guest xmlns:k='{NAMESPACE}' cloud='{cloud.cloud_id}' fence='1'/></metadata>"
        "<memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os></domain>"
    )
    virsh("define", str(place))
    return name


def test_the_doctor_names_every_planted_thing(cloud: RealCloud, alpha: Server, tmp_path: Path) -> None:
    domain, disk, network, router, chain = (new_id() for _ in range(5))
    bridge, tap, table = f"kb{cloud.cloud_id}7777777", f"kt{cloud.cloud_id}7777777", cloud.naming.table
    name = define(cloud, domain, tmp_path / "domain.xml")
    (cloud.disks / disk).mkdir()
    (cloud.disks / disk / "root").write_bytes(b"")
    # What nobody proves to be unwanted is left alone, also by a new start.
    cloud.restart()
    assert (name in domains(), (cloud.disks / disk / "root").exists()) == (True, True)
    run("ip", "netns", "add", cloud.naming.network_namespace(network))
    run("ip", "netns", "add", cloud.naming.router_namespace(router))
    run("ip", "link", "add", bridge, "type", "bridge")
    run("ip", "tuntap", "add", tap, "mode", "tap")
    run("nft", "add", "chain", "bridge", table, f"ingress-{chain}")
    run("nft", "add", "table", "ip", table)
    try:
        told = cloud.daemon.doctor()
    finally:
        virsh("undefine", name)
        shutil.rmtree(cloud.disks / disk)
        run("ip", "netns", "delete", cloud.naming.network_namespace(network))
        run("ip", "netns", "delete", cloud.naming.router_namespace(router))
        run("ip", "link", "delete", bridge)
        run("ip", "link", "delete", tap)
        run("nft", "delete", "chain", "bridge", table, f"ingress-{chain}", check=False)
        run("nft", "delete", "table", "ip", table, check=False)
    named = (
        f"domain {domain}", f"disk {disk}", f"network {network}", f"router {router}", f"interface {bridge}",
        f"interface {tap}", f"chain ingress-{chain}", f"table ip {table}",
    )  # fmt: skip
    assert [words for words in named if words not in told] == [], told
    assert "All is well" in (told := cloud.daemon.doctor()), told
