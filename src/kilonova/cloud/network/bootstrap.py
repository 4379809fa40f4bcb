"""The networks that a new cloud starts with."""

from __future__ import annotations

from dataclasses import dataclass

from kilonova.cloud.network import network_service, network_store, router_service, subnet_service
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.group_service import ensure_default
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.router_service import NewGateway, NewRouter
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.core.context import Context
from kilonova.kit.db import Tx


@dataclass(frozen=True, slots=True)
class Layout:
    """Prefixes of the first networks; clouds side by side on a machine need different ones of both."""

    public: str = "172.24.4.0/24"
    private: str = "10.0.0.0/24"


async def bootstrap(ground: Ground, admin: Context, layout: Layout | None = None) -> bool:
    """Make `public` (external), `private` with `private-subnet`, and `router1` between them, all of the administrator's
    project, in one transaction; True when that was done. A cloud that has any network already is left as it is.

    `private` is shared, so that a first `server create` of any project, the administrator's included, finds exactly one
    network by itself.
    """
    where = layout or Layout()
    project_id = admin.project_id or ""

    def work(tx: Tx) -> bool:
        if network_store.exists(tx):
            return False
        public = network_service.insert(tx, ground, project_id, NewNetwork(name="public", external=True))
        subnet_service.insert(
            tx,
            ground,
            public,
            NewSubnet(network_id=public.id, name="public-subnet", cidr=where.public, enable_dhcp=False),
        )
        private = network_service.insert(tx, ground, project_id, NewNetwork(name="private", shared=True))
        inner = subnet_service.insert(
            tx, ground, private, NewSubnet(network_id=private.id, name="private-subnet", cidr=where.private)
        )
        new = NewRouter(name="router1", gateway=NewGateway(public.id))
        router = router_service.insert(tx, ground, admin, project_id, new)
        router_service.join(tx, ground, router, inner)
        ensure_default(tx, ground, project_id)
        return True

    return await ground.db.write(work)
