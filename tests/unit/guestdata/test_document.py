"""What paths answer, in both dialects and at each version."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from kilonova.guestdata.document import find_page
from kilonova.wire.guest import GuestDocument, GuestSpec, ImageRef
from kilonova.wire.network import FixedIp, HostRoute, NetworkDoc, PortDoc, SubnetDoc

SERVER = "33333333-0000-4000-8000-00000000abcd"
DOCUMENT = GuestDocument(
    server_id=SERVER,
    name="Hello!",
    hostname="hello",
    project_id="p1",
    user_id="u1",
    reservation_id="r-1",
    public_keys={"k1": "ssh-ed25519 AAAA x", "k2": "ssh-rsa BBBB y"},
    metadata={"role": "wéb"},
    user_data=base64.b64encode(b"#!/bin/sh\n\xff").decode(),
    admin_password="s3cret",
    flavor="m1.nano",
    security_groups=("default", "web"),
)
NETWORK = NetworkDoc(
    network_id="net",
    version=1,
    name="private",
    mtu=1450,
    subnets=(
        SubnetDoc(subnet_id="s4", ip_version=4, cidr="10.0.0.0/24", gateway="10.0.0.1", dns_servers=("9.9.9.9",)),
        SubnetDoc(
            subnet_id="s6",
            ip_version=6,
            cidr="fd00::/64",
            gateway="fd00::1",
            enable_dhcp=False,
            host_routes=(HostRoute(destination="fd01::/48", nexthop="fd00::2"),),
        ),
        SubnetDoc(subnet_id="slaac", ip_version=6, cidr="fd02::/64", ipv6_mode="slaac"),
    ),
)
PORT = PortDoc(
    port_id="22222222-0000-4000-8000-000000000001",
    network_id="net",
    version=1,
    mac="fa:16:3e:00:00:01",
    fixed_ips=(
        FixedIp(subnet_id="s6", address="fd00::5"),
        FixedIp(subnet_id="s4", address="10.0.0.5"),
        FixedIp(subnet_id="s4", address="10.0.0.6"),
        FixedIp(subnet_id="slaac", address="fd02::5"),
    ),
)
SPEC = GuestSpec(
    server_id=SERVER,
    fence=1,
    version=1,
    power="running",
    document=DOCUMENT,
    ports=(PORT,),
    ephemeral_gb=1,
    swap_mb=1,
    image=ImageRef(
        image_id="44444444-0000-4000-8000-000000000001", name="i", sha512="0" * 128, size=1, disk_format="raw"
    ),
)


def read(path: str, spec: GuestSpec = SPEC) -> str | None:
    page = find_page(spec, path, {"net": NETWORK}, b"\0" * 512)
    return None if page is None else page.body.decode()


def read_json(path: str, spec: GuestSpec = SPEC) -> Any:
    return json.loads(read(path, spec) or "")


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/openstack", "2012-08-10 2013-04-04 2013-10-17 2015-10-15 2016-06-30 2016-10-06 2017-02-22 2018-08-27 "
         "2020-10-14 2025-04-04 latest"),
        ("/openstack/2012-08-10/", "meta_data.json user_data"),
        ("/openstack/2013-04-04", "meta_data.json user_data password"),
        ("/openstack/2013-10-17", "meta_data.json user_data password vendor_data.json"),
        ("/openstack/2015-10-15", "meta_data.json user_data password vendor_data.json network_data.json"),
        ("//openstack//latest//",
         "meta_data.json user_data password vendor_data.json network_data.json vendor_data2.json"),
        ("/", "1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01 2009-04-04 latest"),
        ("/ec2/latest", "meta-data/ user-data"),
        ("/1.0/meta-data", "ami-id ami-launch-index ami-manifest-path hostname instance-id local-ipv4 public-keys/ "
         "reservation-id security-groups"),
        ("/latest/meta-data/", "ami-id ami-launch-index ami-manifest-path block-device-mapping/ hostname "
         "instance-action instance-id instance-type local-hostname local-ipv4 placement/ public-hostname public-ipv4 "
         "public-keys/ reservation-id security-groups"),
        ("/latest/meta-data/public-keys/", "0=k1 1=k2"),
        ("/latest/meta-data/public-keys/1", "openssh-key"),
        ("/latest/meta-data/block-device-mapping", "ami ephemeral0 root swap"),
        ("/latest/meta-data/security-groups", "default web"),
    ],
)  # fmt: skip
def test_listings(path: str, lines: str) -> None:
    assert read(path) == "\n".join(lines.split())


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/latest/meta-data/instance-id", "i-0800000000000abcd"),
        ("/2007-01-19/meta-data/ami-id", "ami-08000000000000001"),
        ("/latest/meta-data/local-ipv4", "10.0.0.5"),
        ("/latest/meta-data/instance-type", "m1.nano"),
        ("/latest/meta-data/public-keys/1/openssh-key", "ssh-rsa BBBB y"),
        ("/latest/meta-data/placement/availability-zone", "nova"),
        ("/latest/meta-data/block-device-mapping/swap", "/dev/vdc"),
        ("/openstack/latest/password", ""),
        ("/openstack/latest/vendor_data2.json", '{"static":{}}'),
    ],
)
def test_values(path: str, text: str) -> None:
    assert read(path) == text


@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "/openstack/x",
        "/openstack/latest/x",
        "/openstack/latest/user_data/x",
        "/openstack/2012-08-10/network_data.json",
        "/openstack/2012-08-10/password",
        "/latest/meta-data/x",
        "/latest/meta-data/hostname/x",
        "/latest/meta-data/public-keys/7",
        "/latest/meta-data/public-keys/0/_name",
        "/2007-03-01/meta-data/instance-type",
        "/latest/x",
        "/latest/../latest",
    ],
)
def test_what_is_not_there(path: str) -> None:
    assert read(path) is None


def test_user_data_is_given_as_it_was_and_only_where_there_is_some() -> None:
    for path in ("/latest/user-data", "/openstack/latest/user_data"):
        page = find_page(SPEC, path, {}, b"")
        assert page is not None
        assert page.body == b"#!/bin/sh\n\xff"
    bare = msgspec.structs.replace(SPEC, document=msgspec.structs.replace(DOCUMENT, user_data="", public_keys={}))
    assert read("/latest/user-data", bare) is None
    assert read("/openstack/latest/user_data", bare) is None
    assert read("/latest", bare) == "meta-data/"
    assert read("/latest/meta-data/public-keys", bare) is None


def test_meta_data_grows_with_versions_and_never_tells_the_password() -> None:
    oldest = read_json("/openstack/2012-08-10/meta_data.json")
    assert oldest == {
        "uuid": SERVER,
        "meta": {"role": "wéb"},
        "public_keys": DOCUMENT.public_keys,
        "keys": [
            {"name": "k1", "type": "ssh", "data": "ssh-ed25519 AAAA x"},
            {"name": "k2", "type": "ssh", "data": "ssh-rsa BBBB y"},
        ],
        "hostname": "hello",
        "name": "Hello!",
        "launch_index": 0,
        "availability_zone": "nova",
    }
    seed = base64.b64encode(b"\0" * 512).decode()
    newer = {"random_seed": seed, "project_id": "p1", "devices": [], "dedicated_cpus": []}
    assert read_json("/openstack/latest/meta_data.json") == oldest | newer
    assert set(read_json("/openstack/2016-06-30/meta_data.json")) == {*oldest, *newer} - {"dedicated_cpus"}


def test_network_data() -> None:
    data = read_json("/openstack/latest/network_data.json")
    link = "tap22222222-00"
    assert data["links"] == [
        {"id": link, "vif_id": PORT.port_id, "type": "bridge", "mtu": 1450, "ethernet_mac_address": PORT.mac}
    ]
    static, asked, slaac = data["networks"]
    assert static == {
        "id": "network0",
        "link": link,
        "network_id": "net",
        "type": "ipv6",
        "ip_address": "fd00::5",
        "netmask": "ffff:ffff:ffff:ffff::",
        "routes": [
            {"network": "::", "netmask": "::", "gateway": "fd00::1"},
            {"network": "fd01::", "netmask": "ffff:ffff:ffff::", "gateway": "fd00::2"},
        ],
        "services": [],
    }
    assert (asked["id"], asked["type"], slaac["type"]) == ("network1", "ipv4_dhcp", "ipv6_slaac")
    assert data["services"] == [{"type": "dns", "address": "9.9.9.9"}]
    unknown = find_page(SPEC, "/openstack/latest/network_data.json", {}, b"")
    assert unknown is not None
    assert [entry["type"] for entry in json.loads(unknown.body)["networks"]] == ["ipv6_slaac", "ipv4_dhcp"]


def test_files_and_tags_of_nics_are_told() -> None:
    files = (("/etc/motd", base64.b64encode(b"hello").decode()), ("/etc/ö", base64.b64encode(b"\xff").decode()))
    ports = (msgspec.structs.replace(PORT, tag="front"), PORT)
    spec = msgspec.structs.replace(SPEC, document=msgspec.structs.replace(DOCUMENT, files=files), ports=ports)
    told = read_json("/openstack/latest/meta_data.json", spec)
    assert told["devices"] == [{"type": "nic", "mac": PORT.mac, "tags": ["front"]}]
    assert [one["path"] for one in told["files"]] == ["/etc/motd", "/etc/ö"]
    for one, body in zip(told["files"], (b"hello", b"\xff"), strict=True):
        page = find_page(spec, f"/openstack{one['content_path']}", {}, b"")
        assert page is not None
        assert page.body == body
    assert read("/openstack/content/0002", spec) is None
    assert read("/openstack/content", spec) is None
