"""Servers with the real openstackclient, on simulated hosts: what it asks for arrives, what it shows is so."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import pytest
from client_cloud import BIN, Cloud, free_of_clouds

pytestmark = pytest.mark.client

BOOT = "server create --image kilonova-guest --flavor m1.nano"


def test_the_life_of_a_server(cloud: Cloud, tmp_path: Path) -> None:
    data, key = tmp_path / "data", tmp_path / "key"
    data.write_text("#!/bin/sh\necho hello\n")
    cloud.tell(f"keypair create --private-key {key} life-key")
    cloud.tell("security group create life-group")
    options = f"--network private --key-name life-key --user-data {data} --property a=b --property c=d"
    made = cloud.show(f"{BOOT} {options} --config-drive true --security-group life-group --wait life")
    assert (made["status"], made["key_name"], made["config_drive"]) == ("ACTIVE", "life-key", "True")
    server = cloud.server("life")
    assert base64.b64decode(server["OS-EXT-SRV-ATTR:user_data"]) == data.read_bytes()
    assert server["metadata"] == {"a": "b", "c": "d"}
    assert server["security_groups"] == [{"name": "life-group"}]

    (row,) = cloud.show("server list --long --name life")
    assert (row["Status"], row["Power State"], row["Flavor"], row["Image Name"]) == (
        "ACTIVE", 1, "m1.nano", "kilonova-guest",
    )  # fmt: skip
    (port,) = cloud.show("port list --server life")
    assert cloud.show(f"port show {port['ID']}")["device_id"] == made["id"]
    assert row["Networks"] == {"private": [port["Fixed IP Addresses"][0]["ip_address"]]}
    assert f"KILONOVA READY instance={made['id']}" in cloud.tell("console log show life")
    assert cloud.tell("console log show --lines 1 life").count("\n") == 1

    cloud.tell("server stop life")
    assert cloud.wait("life", "SHUTOFF")["OS-EXT-STS:power_state"] == 4
    assert "while it is in vm_state stopped" in cloud.refuse("server stop life")
    cloud.tell("server start life")
    cloud.wait("life", "ACTIVE")
    assert "Complete" in cloud.tell("server reboot --soft --wait life")
    assert "Complete" in cloud.tell("server reboot --hard --wait life")

    events = cloud.show("server event list --long life")
    assert [e["Action"] for e in events] == ["reboot", "reboot", "start", "stop", "create"]
    shown = cloud.show(f"server event show life {events[-1]['Request ID']}")
    assert shown["action"] == "create"
    assert {e["result"] for e in shown["events"]} == {"Success"}

    cloud.tell("server set --name vita --property c=e --property f=g life")
    cloud.tell("server unset --property a vita")
    assert cloud.show("server show vita")["properties"] == {"c": "e", "f": "g"}
    cloud.tell("server delete --wait vita")
    assert "No Server found for vita" in cloud.refuse("server show vita")
    assert "No Port found" in cloud.refuse(f"port show {port['ID']}")
    (gone,) = cloud.show("server list --deleted --long --all-projects --name vita")
    assert (gone["ID"], gone["Status"], gone["Power State"]) == (made["id"], "DELETED", 0)
    cloud.tell("keypair delete life-key")
    cloud.tell("security group delete life-group")


def test_several_servers_at_once(cloud: Cloud) -> None:
    cloud.tell(f"{BOOT} --network private --min 2 --max 3 --wait many")
    found = [cloud.wait(f"many-{n}", "ACTIVE") for n in (1, 2, 3)]
    addresses = {s["addresses"]["private"][0]["addr"] for s in found}
    hosts = {s["OS-EXT-SRV-ATTR:host"] for s in found}
    assert (len(addresses), len({s["OS-EXT-SRV-ATTR:reservation_id"] for s in found})) == (3, 1)
    (host, *_) = sorted(hosts)
    on_host = [s["name"] for s in found if s["OS-EXT-SRV-ATTR:host"] == host]
    assert sorted(cloud.column(f"server list --host {host} --name many", "Name")) == sorted(on_host)
    assert sorted(cloud.column("server list --name many --status ACTIVE", "Name")) == ["many-1", "many-2", "many-3"]
    assert cloud.show("server list --name many --status SHUTOFF") == []
    assert len(cloud.show("server list --name many --limit 2")) == 2
    cloud.tell("server delete --wait many-1 many-2 many-3")
    assert cloud.show("server list --name many") == []


def test_networks_of_a_server_by_every_option(cloud: Cloud) -> None:
    cloud.tell(f"{BOOT} --nic none nic-none")
    cloud.tell(f"{BOOT} --nic auto nic-auto")
    cloud.tell(f"{BOOT} --nic net-id=private,v4-fixed-ip=10.0.0.77 nic-fixed")
    cloud.tell("port create --network private nic-port")
    cloud.tell(f"{BOOT} --port nic-port nic-own")
    assert cloud.wait("nic-none", "ACTIVE")["addresses"] == {}
    assert list(cloud.wait("nic-auto", "ACTIVE")["addresses"]) == ["private"]
    assert cloud.wait("nic-fixed", "ACTIVE")["addresses"]["private"][0]["addr"] == "10.0.0.77"
    cloud.wait("nic-own", "ACTIVE")
    assert "already in use" in cloud.refuse(f"{BOOT} --nic net-id=private,v4-fixed-ip=10.0.0.77 nic-taken")
    cloud.tell("server delete --wait nic-none nic-auto nic-fixed nic-own")
    port = cloud.show("port show nic-port")
    assert (port["device_id"], port["status"]) == ("", "DOWN")
    cloud.tell("port delete nic-port")


def test_a_server_that_fits_nowhere_says_why(cloud: Cloud) -> None:
    cloud.tell("flavor create --ram 999999 --vcpus 2 --disk 1 giant")
    assert "Error creating server: toobig" in cloud.refuse(
        f"{BOOT.replace('m1.nano', 'giant')} --nic none --wait toobig"
    )
    shown = cloud.show("server show toobig")
    assert shown["status"] == "ERROR"
    assert re.match(
        r"No valid host was found: of 3 hosts, memory removed 3 \(nearest miss: \d+ MiB free, 999999 needed\)",
        shown["fault"]["message"],
    )
    assert cloud.show("server list --status ERROR")[0]["Name"] == "toobig"
    told = cloud.own("explain", "--flavor giant", code=1)
    assert "removed 3 (nearest miss:" in told
    assert "it would fit nowhere" in told
    story = cloud.own("story", "toobig")
    assert "create: failed" in story
    assert "memory removed 3" in story
    cloud.tell("server delete --wait toobig")
    assert "delete: done" in cloud.own("story", shown["id"])
    cloud.tell("flavor delete giant")


def test_the_console_script_with_the_files_that_a_cloud_leaves(cloud: Cloud) -> None:
    """As a user types it, in a shell with the openrc of the state directory."""
    line = f"{BOOT} --nic none typed && openstack server show -f value -c name typed && openstack server delete typed"
    done = subprocess.run(
        ["sh", "-ec", f". {cloud.state}/openrc-demo; openstack {line}"],
        env={**free_of_clouds(), "PATH": f"{BIN}:/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "typed"


def test_an_idempotency_key_makes_one_server(cloud: Cloud) -> None:
    http = cloud.http()
    (image,) = http.get("/image/v2/images", params={"name": "kilonova-guest"}).json()["images"]
    body = {"server": {"name": "once", "imageRef": image["id"], "flavorRef": "42", "networks": "none"}}
    answers = [http.post("/compute/v2.1/servers", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(3)]
    assert [a.status_code for a in answers] == [202, 202, 202]
    assert len({a.json()["server"]["id"] for a in answers}) == 1
    assert cloud.column("server list --name once", "Name") == ["once"]
    changed = {"server": {**body["server"], "name": "twice"}}
    assert http.post("/compute/v2.1/servers", json=changed, headers={"Idempotency-Key": "k1"}).is_client_error
    cloud.wait("once", "ACTIVE")
    cloud.tell("server delete --wait once")
