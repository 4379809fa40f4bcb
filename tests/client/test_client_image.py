"""Images, flavors, key pairs and networks with the real openstackclient."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_cloud import Cloud

pytestmark = pytest.mark.client

CONTENT = b"a disk of no system\n" * 50_000


def test_a_token_and_the_catalog_that_leads_everywhere(cloud: Cloud) -> None:
    token = cloud.show("token issue")
    assert token["id"].startswith("gAAAA")
    assert token["project_id"] == cloud.show("token issue")["project_id"] != cloud.show("token issue", "demo")["id"]
    found = {row["Type"]: row["Endpoints"] for row in cloud.show("catalog list")}
    url = (cloud.state / "endpoint").read_text().strip()
    paths = {kind: f"/{kind}" for kind in ("image", "network", "placement")}
    paths |= {"identity": "/identity/v3", "compute": "/compute/v2.1"}
    assert {kind: {e["url"] for e in endpoints} for kind, endpoints in found.items()} == {
        kind: {url + path} for kind, path in paths.items()
    }


def test_an_image_from_a_file_and_back(cloud: Cloud, tmp_path: Path) -> None:
    disk, back = tmp_path / "disk.raw", tmp_path / "back.raw"
    disk.write_bytes(CONTENT)
    options = "--disk-format raw --container-format bare --min-disk 1 --property os_distro=debian --tag mine"
    made = cloud.show(f"image create --file {disk} {options} from-file")
    assert (made["status"], made["size"], made["min_disk"], made["visibility"]) == ("active", len(CONTENT), 1, "shared")
    assert made["checksum"] == hashlib.md5(CONTENT).hexdigest()
    assert made["properties"]["os_hash_value"] == hashlib.sha512(CONTENT).hexdigest()
    assert "from-file" in cloud.column("image list --property os_distro=debian", "Name")

    cloud.tell("image set --name renamed --property a=b --public from-file")
    cloud.tell("image unset --property os_distro renamed")
    shown = cloud.show("image show renamed")
    assert (shown["id"], shown["visibility"], shown["tags"]) == (made["id"], "public", ["mine"])
    assert (shown["properties"]["a"], "os_distro" in shown["properties"]) == ("b", False)
    assert "renamed" in cloud.column("image list --public", "Name", "demo")
    cloud.tell(f"image save --file {back} renamed")
    assert back.read_bytes() == CONTENT

    cloud.tell("image delete renamed")
    assert "No Image found for renamed" in cloud.refuse("image show renamed")
    assert made["id"] not in cloud.column("image list", "ID")
    assert not [p for p in (cloud.state / "images").rglob(f"*{made['id']}*") if p.is_file()]


def test_an_image_from_standard_input(cloud: Cloud, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(CONTENT)
    cloud.tell("image create --disk-format raw --container-format bare from-input", given=disk)
    shown = cloud.show("image show from-input")
    assert (shown["status"], shown["size"]) == ("active", len(CONTENT))
    cloud.tell("image delete from-input")


def test_what_is_no_image_is_refused_and_leaves_nothing(cloud: Cloud, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(CONTENT)
    before = cloud.column("image list", "ID")
    said = cloud.refuse(f"image create --file {disk} --disk-format qcow2 --container-format bare lie")
    assert "Image content does not match disk_format qcow2: it is raw" in said
    assert "publicize_image" in cloud.refuse(f"image create --public --file {disk} --disk-format raw x", "demo")
    assert "not permitted to delete" in cloud.refuse("image delete kilonova-guest", "demo")
    assert cloud.column("image list", "ID") == before


def test_flavors_are_listed_smallest_first(cloud: Cloud) -> None:
    names = ["nano", "micro", "tiny", "small", "medium", "large", "xlarge"]
    assert cloud.column("flavor list", "Name") == [f"m1.{name}" for name in names]
    shown = cloud.show("flavor show m1.nano")
    assert (shown["ram"], shown["vcpus"], shown["disk"], shown["os-flavor-access:is_public"]) == (128, 1, 1, True)
    cloud.tell("flavor create --id auto --ram 64 --vcpus 1 --disk 0 --property trait=x c1.pico")
    assert cloud.show("flavor show c1.pico")["properties"] == {"trait": "x"}
    assert "os-flavor-manage:create" in cloud.refuse("flavor create --ram 64 --vcpus 1 --disk 0 x", "demo")
    cloud.tell("flavor delete c1.pico")
    assert "No Flavor found for c1.pico" in cloud.refuse("flavor show c1.pico")


def test_key_pairs_imported_and_made_by_the_client(cloud: Cloud, tmp_path: Path) -> None:
    mine, made = tmp_path / "mine", tmp_path / "made"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", mine], check=True)
    cloud.tell(f"keypair create --public-key {mine}.pub imported")
    cloud.tell(f"keypair create --private-key {made} generated")
    made.chmod(0o600)  # the client leaves that to its user
    public = subprocess.run(["ssh-keygen", "-y", "-f", made], check=True, capture_output=True, text=True).stdout
    assert cloud.tell("keypair show --public-key generated").split()[:2] == public.split()[:2]
    assert cloud.show("keypair show imported")["fingerprint"].count(":") == 15
    assert set(cloud.column("keypair list", "Name")) >= {"imported", "generated"}
    assert cloud.show("keypair list", "demo") == []
    assert "already exists" in cloud.refuse(f"keypair create --public-key {mine}.pub imported")
    assert "Keypair data is invalid" in cloud.refuse("keypair create --public-key /etc/hostname bad")
    cloud.tell("keypair delete imported generated")
    assert "No Keypair found for imported" in cloud.refuse("keypair show imported")


def test_networks_that_every_cloud_starts_with(cloud: Cloud) -> None:
    found = {row["Name"]: row for row in cloud.show("network list --long")}
    assert (found["public"]["Router Type"], found["private"]["Router Type"]) == (True, False)
    (subnet,) = cloud.show("subnet list --name private-subnet")
    assert subnet["Network"] == cloud.show("network show private")["id"]
    shown = cloud.show("subnet show private-subnet")
    assert (shown["cidr"], shown["enable_dhcp"], shown["gateway_ip"]) == ("10.0.0.0/24", True, "10.0.0.1")
    router = cloud.show("router show router1")
    assert router["external_gateway_info"]["network_id"] == found["public"]["ID"]
    assert [i["ip_address"] for i in router["interfaces_info"]] == ["10.0.0.1"]
    assert "default" in cloud.column("security group list", "Name")
    assert "No Network found for nowhere" in cloud.refuse("network show nowhere")
    assert "Policy doesn't allow delete_network" in cloud.refuse("network delete private", "demo")
    assert "private" in cloud.column("network list", "Name", "demo")


def test_an_image_is_shared_with_a_project_that_accepts_it(cloud: Cloud, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(CONTENT)
    demo = cloud.show("token issue", "demo")["project_id"]
    image_id = cloud.show(f"image create --file {disk} --disk-format raw --container-format bare offered")["id"]
    cloud.tell(f"image add project {image_id} {demo}")
    assert [(m["Member ID"], m["Status"]) for m in cloud.show(f"image member list {image_id}")] == [(demo, "pending")]
    assert image_id not in cloud.column("image list", "ID", "demo")
    assert image_id in cloud.column("image list --member-status pending --shared", "ID", "demo")
    cloud.tell(f"image set --accept {image_id}", "demo")
    assert image_id in cloud.column("image list", "ID", "demo")
    assert cloud.show(f"image member get {image_id} {demo}")["status"] == "accepted"
    cloud.tell(f"image remove project {image_id} {demo}")
    assert "No Image found" in cloud.refuse(f"image show {image_id}", "demo")
    cloud.tell(f"image delete {image_id}")


def test_an_image_is_staged_imported_and_deactivated(cloud: Cloud, tmp_path: Path) -> None:
    disk, back = tmp_path / "disk.raw", tmp_path / "back.raw"
    disk.write_bytes(CONTENT)
    sdk = connect(cloud)
    formats = {"disk_format": "raw", "container_format": "bare"}
    image = sdk.image.create_image("imported", allow_duplicates=True, **formats)
    assert cloud.show("image import info")["import-methods"] == ["glance-direct", "web-download"]
    sdk.image.stage_image(image, data=CONTENT)
    assert cloud.show("image show imported")["status"] == "uploading"
    cloud.tell("image import --method glance-direct imported")
    until(lambda: cloud.show("image show imported")["status"] == "active")
    [task] = sdk.image.image_tasks(image)
    assert (task.status, task.type) == ("success", "api_image_import")
    assert task.id in cloud.column("image task list", "ID")
    assert cloud.show(f"image task show {task.id}")["input"]["image_id"] == image.id
    cloud.tell("image set --deactivate imported")
    assert cloud.show("image show imported")["status"] == "deactivated"
    cloud.tell("image set --activate imported")
    cloud.tell("image set --community imported")
    cloud.tell(f"image save --file {back} {image.id}", "demo")
    assert back.read_bytes() == CONTENT
    cloud.tell("image set --private --protected imported")
    assert "protected" in cloud.refuse("image delete imported")
    cloud.tell("image set --unprotected --hidden imported")
    assert "imported" in cloud.column("image list --hidden", "Name")
    cloud.tell(f"image delete {image.id}")


def test_what_may_not_be_fetched_is_refused(cloud: Cloud) -> None:
    sdk = connect(cloud)
    image = sdk.image.create_image("fetched", allow_duplicates=True, disk_format="raw", container_format="bare")
    fetch = "image import --method web-download --uri"
    # The client does not look at the answer to an import; the image tells.
    cloud.tell(f"{fetch} http://169.254.169.254:8775/latest fetched")
    assert list(sdk.image.image_tasks(image)) == []
    cloud.tell(f"{fetch} http://169.254.169.254/latest fetched")
    until(lambda: [t.status for t in sdk.image.image_tasks(image)] == ["failure"])
    [task] = sdk.image.image_tasks(image)
    assert "does not pass filtering" in task.message
    assert cloud.show("image show fetched")["status"] == "queued"
    cloud.tell("image delete fetched")


def connect(cloud: Cloud) -> Any:
    """openstacksdk as the administrator: it makes images without bytes, as the command line does on a terminal only."""
    import openstack

    return openstack.connection.Connection(
        config=openstack.config.OpenStackConfig(config_files=[str(cloud.state / "clouds.yaml")]).get_one("kilonova")
    )


def until(holds: Callable[[], bool]) -> None:
    """Wait for something, for a bounded time."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)
