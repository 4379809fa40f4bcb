"""The real client on networks beyond what a server needs."""

from __future__ import annotations

import pytest
from client_cloud import Cloud

pytestmark = pytest.mark.client


def test_floating_ips_and_routes(cloud: Cloud) -> None:
    cloud.tell("network create inside", "demo")
    cloud.tell("subnet create --network inside --subnet-range 10.71.0.0/24 inside", "demo")
    cloud.tell("router create out", "demo")
    cloud.tell("router set --external-gateway public out", "demo")
    cloud.tell("router add subnet out inside", "demo")
    cloud.tell("port create --network inside --allowed-address ip-address=10.71.0.200 p", "demo")
    made = cloud.show("floating ip create --port p --tag web public", "demo")
    assert (made["status"], made["tags"]) == ("ACTIVE", ["web"])
    address = made["floating_ip_address"]
    assert cloud.column("floating ip list --port p", "Floating IP Address", "demo") == [address]
    assert "409" in cloud.refuse("router unset --external-gateway out", "demo")
    cloud.tell(f"floating ip unset --port {address}", "demo")
    forward = "--internal-protocol-port 80 --external-protocol-port 8080 --protocol tcp --port p"
    cloud.tell(f"floating ip port forwarding create {forward} --internal-ip-address 10.71.0.200 {address}", "demo", 1)
    fixed = cloud.show("port show p", "demo")["fixed_ips"][0]["ip_address"]
    cloud.tell(f"floating ip port forwarding create {forward} --internal-ip-address {fixed} {address}", "demo")
    assert cloud.column(f"floating ip port forwarding list {address}", "External Port", "demo") == [8080]
    cloud.tell("router add route --route destination=192.0.2.0/24,gateway=10.71.0.9 out", "demo")
    assert cloud.show("router show out", "demo")["routes"] == [{"destination": "192.0.2.0/24", "nexthop": "10.71.0.9"}]
    cloud.tell("router remove route --route destination=192.0.2.0/24,gateway=10.71.0.9 out", "demo")
    assert "409" in cloud.refuse(f"floating ip delete {address}", "demo")
    (one,) = cloud.column(f"floating ip port forwarding list {address}", "ID", "demo")
    cloud.tell(f"floating ip port forwarding delete {address} {one}", "demo")
    cloud.tell(f"floating ip delete {address}", "demo")
    cloud.tell("port delete p", "demo")
    cloud.tell("router remove subnet out inside", "demo")
    cloud.tell("router delete out", "demo")
    cloud.tell("network delete inside", "demo")


def test_pools_scopes_groups_policies_and_tags(cloud: Cloud) -> None:
    cloud.tell("address scope create --ip-version 4 scope")
    cloud.tell("subnet pool create --pool-prefix 10.72.0.0/16 --default-prefix-length 26 --address-scope scope pool")
    cloud.tell("network create --tag a --tag b pooled")
    made = cloud.show("subnet create --network pooled --subnet-pool pool pooled")
    assert made["cidr"] == "10.72.0.0/26"
    assert cloud.column("network list --tags a,b", "Name") == ["pooled"]
    assert cloud.column("network list --not-any-tags a --name pooled", "Name") == []
    cloud.tell("network rbac create --type network --action access_as_shared --target-project demo pooled")
    assert cloud.column("network list --name pooled", "Name", "demo") == ["pooled"]
    policy = next(
        row["ID"] for row in cloud.show("network rbac list --long") if row["Action"] == "access_as_shared"
        and row["Object ID"] == made["network_id"]
    )  # fmt: skip
    cloud.tell(f"network rbac delete {policy}")
    assert cloud.column("network list --name pooled", "Name", "demo") == []
    cloud.tell("address group create --address 10.0.0.0/8 offices")
    cloud.tell("address group set --address 192.0.2.1 offices")
    cloud.tell("security group create --stateless doors")
    cloud.tell("security group rule create --remote-address-group offices --protocol tcp --dst-port 22 doors")
    assert cloud.show("security group show doors")["stateful"] is False
    assert "409" in cloud.refuse("address group delete offices")
    for words in (
        "security group delete doors", "address group delete offices", "network delete pooled",
        "subnet pool delete pool", "address scope delete scope",
    ):  # fmt: skip
        cloud.tell(words)
    assert len(cloud.column("network agent list", "Host")) == 3
    cloud.own("doctor")
