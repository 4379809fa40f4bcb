"""What hosts are told of floating IPs, forwardings, pairs, options and address groups, and that versions rise."""

from __future__ import annotations

from typing import Any

import pytest
from network_world import ADMIN, ANN, BEN, Cloud, flat

from kilonova.cloud.network.address_group_service import NewAddressGroup
from kilonova.cloud.network.bootstrap import bootstrap
from kilonova.cloud.network.dhcp_option import WantedOption
from kilonova.cloud.network.floating_service import NewFloatingIp
from kilonova.cloud.network.forwarding_service import NewForwarding
from kilonova.cloud.network.grant_service import NewGrant
from kilonova.cloud.network.group_service import NewGroup, NewRule
from kilonova.cloud.network.model import AllowedPair, Change, Listing, NicRequest, WantedIp
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.router_service import NewGateway, NewRouter
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Database
from kilonova.wire.network import DhcpOption, FloatingIpDoc, PortForwardingDoc


@pytest.fixture
def cloud(database: Database) -> Cloud:
    return Cloud(database)


async def _routed(cloud: Cloud) -> tuple[str, str, Any]:
    """Outside network, router, and the port of a guest of ann's behind it on host h1."""
    await bootstrap(cloud.ground, ADMIN)
    (outside,) = await cloud.service.networks.find(ANN, Listing({"external": (True,)}))
    network, subnet = await cloud.network(cidr="10.8.0.0/24")
    router = await cloud.service.routers.create(ANN, NewRouter(gateway=NewGateway(outside.id)))
    await cloud.service.routers.join_subnet(ANN, router.id, subnet.id)
    await cloud.boot(ANN, "s1", requests=[NicRequest(network_id=network.id)])
    (port,) = await cloud.service.ports.find(ANN, Listing({"device_id": ("s1",)}))
    return outside.id, router.id, port


async def test_a_floating_ip_reaches_the_host(cloud: Cloud) -> None:
    outside, router, port = await _routed(cloud)
    made = await cloud.service.floating_ips.create(ANN, NewFloatingIp(network_id=outside))
    before, _ = await cloud.held("h1")
    cloud.hints.clear()
    await cloud.service.floating_ips.update(ANN, made.id, {"port_id": port.id})
    assert Change("router", router) in cloud.hints
    after, docs = await cloud.held("h1")
    assert after["router", router] > before["router", router]
    fixed = port.fixed_ips[0].address
    assert flat(docs)[router].floating_ips == (FloatingIpDoc(floating=made.address, fixed=fixed),)
    await cloud.service.floating_ips.update(ANN, made.id, {"port_id": None})
    last, docs = await cloud.held("h1")
    assert last["router", router] > after["router", router]
    assert flat(docs)[router].floating_ips == ()
    await cloud.service.floating_ips.delete(ANN, made.id)
    assert "floatingip" not in await cloud.use("ann")


async def test_a_server_that_goes_is_led_to_no_more(cloud: Cloud) -> None:
    outside, router, port = await _routed(cloud)
    new = NewFloatingIp(network_id=outside, port_id=port.id)
    made = await cloud.service.floating_ips.create(ANN, new)
    assert (made.router_id, made.fixed_address) == (router, port.fixed_ips[0].address)
    await cloud.db.write(lambda tx: cloud.service.allocation.release(tx, "s1"))
    left = await cloud.service.floating_ips.get(ANN, made.id)
    assert (left.port_id, left.router_id, left.status) == (None, None, "DOWN")
    second, _ = await cloud.network(cidr="10.9.0.0/24")
    assert second
    await cloud.service.ports.create(ANN, NewPort(network_id=port.network_id))


async def test_an_address_that_a_port_loses_is_led_to_no_more(cloud: Cloud) -> None:
    outside, router, port = await _routed(cloud)
    made = await cloud.service.floating_ips.create(ANN, NewFloatingIp(network_id=outside, port_id=port.id))
    wanted = [WantedIp(None, "10.8.0.77"), WantedIp(None, port.fixed_ips[0].address)]
    await cloud.service.ports.update(ANN, port.id, {"fixed_ips": wanted})
    assert (await cloud.service.floating_ips.get(ANN, made.id)).router_id == router
    with pytest.raises(Conflict):
        await cloud.service.floating_ips.create(ANN, NewFloatingIp(
            network_id=outside, port_id=port.id, fixed_address=port.fixed_ips[0].address
        ))  # fmt: skip
    with pytest.raises(Invalid, match="multiple"):
        await cloud.service.floating_ips.create(ANN, NewFloatingIp(network_id=outside, port_id=port.id))
    await cloud.service.ports.update(ANN, port.id, {"fixed_ips": wanted[:1]})
    assert (await cloud.service.floating_ips.get(ANN, made.id)).router_id is None


async def test_forwardings_reach_the_host(cloud: Cloud) -> None:
    outside, router, port = await _routed(cloud)
    made = await cloud.service.floating_ips.create(ANN, NewFloatingIp(network_id=outside))
    before, _ = await cloud.held("h1")
    new = NewForwarding(protocol="udp", external=(5000, 5009), internal=(50, 59), port_id=port.id)
    one = await cloud.service.forwardings.create(ANN, made.id, new)
    after, docs = await cloud.held("h1")
    assert after["router", router] > before["router", router]
    (told,) = flat(docs)[router].port_forwardings
    assert told == PortForwardingDoc(
        protocol="udp", floating=made.address, floating_port_min=5000, floating_port_max=5009,
        fixed=port.fixed_ips[0].address, fixed_port_min=50, fixed_port_max=59,
    )  # fmt: skip
    with pytest.raises(NotFound):
        await cloud.service.forwardings.get(BEN, made.id, one.id)
    await cloud.service.forwardings.update(ANN, made.id, one.id, {"internal": (70, 79)})
    _, docs = await cloud.held("h1")
    assert flat(docs)[router].port_forwardings[0].fixed_port_min == 70
    await cloud.service.forwardings.delete(ANN, made.id, one.id)
    last, docs = await cloud.held("h1")
    assert flat(docs)[router].port_forwardings == ()
    assert last["router", router] > after["router", router] + 1


async def test_pairs_and_options_reach_the_host(cloud: Cloud) -> None:
    _, _, port = await _routed(cloud)
    before, _ = await cloud.held("h1")
    options = [WantedOption("mtu", "1400"), WantedOption("ntp-server", "10.0.0.9"), WantedOption("60", "x", 6)]
    values = {"allowed_pairs": [("10.50.0.0/16", None)], "dhcp_options": options}
    changed = await cloud.service.ports.update(ANN, port.id, values)
    assert changed.allowed_pairs == (AllowedPair("10.50.0.0/16", port.mac),)
    after, docs = await cloud.held("h1")
    assert after["port", port.id] > before["port", port.id]
    told = flat(docs)[port.id]
    assert [(p.address, p.mac) for p in told.allowed_pairs] == [("10.50.0.0/16", port.mac)]
    assert told.dhcp_options[2] == DhcpOption(name="60", value="x", ip_version=6)
    less = await cloud.service.ports.update(ANN, port.id, {"dhcp_options": [WantedOption("mtu", None)]})
    assert [o.name for o in less.dhcp_options] == ["ntp-server", "60"]
    for name, value in (("a b", "1"), ("Foo_Bar", "1"), ("mtu\n", "1"), ("mtu", "1\n"), ("mtu", "1\u2028")):
        bad = [WantedOption(name, value)]
        with pytest.raises(Invalid):
            await cloud.service.ports.update(ANN, port.id, {"dhcp_options": bad})
    for pairs in (
        [("10.1.1.1", None)] * 2,
        [("x", None)],
        [("0.0.0.0/0", None)],
        [(f"10.1.1.{i}", None) for i in range(11)],
    ):
        with pytest.raises(Invalid):
            await cloud.service.ports.update(ANN, port.id, {"allowed_pairs": pairs})
    with pytest.raises(Conflict):
        await cloud.service.ports.update(ANN, port.id, {"port_security": False, "groups": ()})


async def test_address_groups_reach_the_host(cloud: Cloud) -> None:
    _, _, port = await _routed(cloud)
    new = NewAddressGroup(addresses=["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32"])
    made = await cloud.service.address_groups.create(ANN, new)
    rule = NewRule(group_id=port.groups[0], direction="ingress", remote_addresses=made.id)
    await cloud.service.groups.create_rule(ANN, rule)
    before, docs = await cloud.held("h1")
    assert made.id in {r.remote_addresses for r in flat(docs)[port.id].rules}
    assert flat(docs)[made.id].addresses == ("10.0.0.0/8", "192.0.2.7/32")
    cloud.hints.clear()
    await cloud.service.address_groups.add(ANN, made.id, ["2001:db8::1/128"])
    assert cloud.hints == [Change("addresses", made.id)]
    after, docs = await cloud.held("h1")
    assert after["address_set", made.id] > before["address_set", made.id]
    assert "2001:db8::1/128" in flat(docs)[made.id].addresses
    grant = NewGrant(object_type="address_group", object_id=made.id, action="access_as_shared", target="ben")
    await cloud.service.grants.create(ANN, grant)
    assert (await cloud.service.address_groups.get(BEN, made.id)).shared


async def test_a_stateless_group_says_so(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    (group,) = await cloud.service.groups.create_all(ANN, [NewGroup(name="loose", stateful=False)])
    port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id, groups=[group.id], host_id="h1"))
    _, docs = await cloud.held("h1")
    assert {r.stateful for r in flat(docs)[port.id].rules} == {False}
    with pytest.raises(Conflict):
        await cloud.service.groups.update(ANN, group.id, {"stateful": True})


async def test_service_types_choose_the_subnet(cloud: Cloud) -> None:
    network = await cloud.service.networks.create(ANN, NewNetwork())
    for cidr, types in (("10.1.0.0/24", ["compute:nova"]), ("10.2.0.0/24", ["compute:foo"]), ("10.3.0.0/24", [])):
        await cloud.service.subnets.create(ANN, NewSubnet(network_id=network.id, cidr=cidr, service_types=types))
    for owner, prefix in (("compute:nova", "10.1."), ("compute:foo", "10.2."), ("", "10.3."), ("compute:x", "10.3.")):
        port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id, device_owner=owner))
        assert [f.address[:5] for f in port.fixed_ips] == [prefix], owner
    only = await cloud.service.networks.create(ANN, NewNetwork())
    new = NewSubnet(network_id=only.id, cidr="10.4.0.0/24", service_types=["compute:nova"])
    await cloud.service.subnets.create(ANN, new)
    with pytest.raises(Conflict, match="service subnet"):
        await cloud.service.ports.create(ANN, NewPort(network_id=only.id))
