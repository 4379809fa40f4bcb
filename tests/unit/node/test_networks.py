"""What a host does with documents that cannot be applied, or things that cannot be removed."""

from __future__ import annotations

import msgspec

from kilonova.core.ids import new_uuid
from kilonova.kit.bus.local import LocalBus
from kilonova.kit.clock import VirtualClock
from kilonova.node.control import Control
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.fake import FakeNet, FakeWorld
from kilonova.node.metadata import MetadataServer
from kilonova.node.network import Networks
from kilonova.wire.network import AddressSetDoc, NetworkDoc, PortDoc
from kilonova.wire.node import Docs, Version


class StubbornNet(FakeNet):
    """A network whose address sets are in use by rules, as nftables says it."""

    filters = True
    busy = True

    async def remove_address_set(self, group_id: str) -> None:
        if self.busy:
            raise DriverError("driver", "the host refused a change of its network", detail="Device or resource busy")
        await super().remove_address_set(group_id)


async def test_what_cannot_be_removed_keeps_nothing_else_from_its_place() -> None:
    world, bus = FakeWorld(), LocalBus()
    net = StubbornNet(world=world)
    metadata = MetadataServer(lambda network, source: None, clock=VirtualClock())
    networks = Networks("h", Control(bus), net, metadata)
    old, new, group = (NetworkDoc(network_id=new_uuid(), version=1, name="n") for _ in range(3))
    docs = Docs(networks=(old,), address_sets=(AddressSetDoc(group_id=group.network_id, version=1, addresses=()),))
    told = [Version(kind="network", id=old.network_id, version=1)]

    async def fetch(data: bytes) -> bytes:
        return msgspec.msgpack.encode(docs)

    bus.answer("control.fetch", fetch)
    await networks.bring_to([*told, Version(kind="address_set", id=group.network_id, version=1)])
    assert set(world.groups) == {group.network_id}
    docs = Docs(networks=(new,))
    await networks.bring_to([Version(kind="network", id=new.network_id, version=1)])
    assert set(world.networks) == {new.network_id}
    assert (await networks.plug([PortDoc(port_id=new_uuid(), network_id=new.network_id, version=1, mac="x")]))[0].mtu
    assert Version(kind="address_set", id=group.network_id, version=0) in networks.versions()
    net.busy = False
    await networks.bring_to([Version(kind="network", id=new.network_id, version=1)])
    assert not world.groups
    assert networks.versions() == [Version(kind="network", id=new.network_id, version=1)]
