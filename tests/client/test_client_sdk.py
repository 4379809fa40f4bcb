"""openstacksdk, by the clouds.yaml of the state directory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import openstack
import pytest
from client_cloud import Cloud
from openstack.connection import Connection
from openstack.exceptions import ForbiddenException, ResourceTimeout, SDKException

pytestmark = pytest.mark.client


@pytest.fixture
def connect(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.state / "clouds.yaml"))
    with openstack.connect("kilonova-demo") as connection:
        yield connection


def test_a_server_by_the_cloud_layer(connect: Connection) -> None:
    made = connect.create_server(
        "sdk", image="kilonova-guest", flavor="m1.nano", network="private", auto_ip=False, wait=True
    )
    assert made.status == "ACTIVE"
    assert [s.name for s in connect.list_servers()] == ["sdk"]
    assert {n.name for n in connect.list_networks()} == {"private", "public"}
    assert connect.compute.get_server_console_output(made)["output"].startswith("[    0.000000] Linux")
    assert connect.delete_server("sdk", wait=True)
    assert connect.get_server("sdk") is None
    assert connect.delete_server("sdk") is False


def test_servers_by_the_compute_proxy(connect: Connection) -> None:
    image, flavor = connect.image.find_image("kilonova-guest"), connect.compute.find_flavor("m1.nano")
    assert image is not None
    assert flavor is not None
    made = connect.compute.create_server(name="proxy", image_id=image.id, flavor_id=flavor.id, networks="none")
    active = connect.compute.wait_for_server(made, interval=0.2)
    connect.compute.stop_server(active)
    assert connect.compute.wait_for_server(active, "SHUTOFF", interval=0.2).vm_state == "stopped"
    connect.compute.set_server_metadata(active, tier="gold")
    assert [s.metadata for s in connect.compute.servers(details=True)] == [{"tier": "gold"}]
    assert [a.action for a in connect.compute.server_actions(active)] == ["stop", "create"]
    with pytest.raises(ForbiddenException):
        list(connect.compute.servers(all_projects=True))
    connect.compute.delete_server(active)
    connect.compute.wait_for_delete(active, interval=0.2)


def test_an_image_by_the_cloud_layer(connect: Connection) -> None:
    data = b"not much" * 1000
    made = connect.create_image("sdk-image", data=data, disk_format="raw", container_format="bare", wait=True)
    assert (made.status, made.hash_value) == ("active", hashlib.sha512(data).hexdigest())
    assert connect.image.download_image(made).content == data
    assert connect.delete_image("sdk-image", wait=True)


def test_a_server_that_fails_raises_with_the_reason(connect: Connection, cloud: Cloud) -> None:
    cloud.tell("flavor create --ram 64 --vcpus 1 --disk 9000 sdk-giant")
    with pytest.raises(SDKException, match="Error in creating the server") as caught:
        connect.create_server(
            "sdk-big", image="kilonova-guest", flavor="sdk-giant", network="private", auto_ip=False, wait=True
        )
    assert not isinstance(caught.value, ResourceTimeout)
    assert "No valid host was found: of 3 hosts, disk removed 3" in connect.get_server("sdk-big").fault["message"]
    connect.delete_server("sdk-big", wait=True)
    cloud.tell("flavor delete sdk-giant")
