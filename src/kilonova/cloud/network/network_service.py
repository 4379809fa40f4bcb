"""Commands and queries on networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kilonova.cloud.network import floating_store, network_store, port, port_store, router_store, sharing, subnet_store
from kilonova.cloud.network.address import check_mtu
from kilonova.cloud.network.grant_store import EXTERNAL, SHARED
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import DEFAULT_MTU, OWNER_DHCP, Listing, Network
from kilonova.cloud.quota import store as quota
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Forbidden, Invalid
from kilonova.kit.db import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNetwork:
    """A network asked for. Only an administrator makes one external or shared, or for another project."""

    name: str = ""
    description: str = ""
    admin_up: bool = True
    shared: bool = False
    external: bool = False
    mtu: int = DEFAULT_MTU
    dns_domain: str = ""
    port_security: bool = True
    project_id: str | None = None


class NetworkService:
    """Networks. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, new: NewNetwork) -> Network:
        """Make a network. Raises Forbidden, QuotaExceeded."""
        return (await self.create_all(context, [new]))[0]

    async def create_all(self, context: Context, news: Sequence[NewNetwork]) -> list[Network]:
        """Make networks, all or none; see `create`."""
        owners = [target_project(context, new.project_id) for new in news]
        if any(new.shared or new.external for new in news) and not context.is_admin:
            raise Forbidden("Only an administrator makes a network shared or external.", why="policy_not_authorized")

        def work(tx: Tx) -> list[Network]:
            return [insert(tx, self._ground, owner, new) for owner, new in zip(owners, news, strict=True)]

        return await self._ground.db.write(work)

    async def update(self, context: Context, network_id: str, values: Mapping[str, Any]) -> Network:
        """Set `name`, `description`, `admin_up`, `shared`, `external`, `mtu`, `dns_domain` or `port_security`.

        Raises NotFound, Forbidden, Conflict (others use what shall not be shared or external any more).
        """
        if values.keys() & {"shared", "external"} and not context.is_admin:
            raise Forbidden("Only an administrator makes a network shared or external.", why="policy_not_authorized")

        def work(tx: Tx) -> Network:
            network_store.lock(tx, network_id)
            old = network_store.get_own(tx, sight(context), network_id)
            _check_use(tx, old, values)
            versions = [s.ip_version for s in subnet_store.of_network(tx, network_id)]
            check_mtu(values.get("mtu", old.mtu), versions)
            for name, action in (("shared", SHARED), ("external", EXTERNAL)):
                if name in values:
                    _grant(tx, self._ground, old, action, values[name])
            network_store.change(tx, network_id, {k: v for k, v in values.items() if k not in ("shared", "external")})
            sharing.settle(tx, self._ground, network_store.KIND, network_id)
            return network_store.get(tx, sight(context), network_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, network_id: str) -> None:
        """Delete a network, its subnets and floating IPs that lead nowhere.

        Raises NotFound, Conflict while a port, gateway or other floating IP uses it.
        """

        def work(tx: Tx) -> None:
            network_store.lock(tx, network_id)
            network_store.get_own(tx, sight(context), network_id)
            port.remove_floating(tx, self._ground, floating_store.leading_nowhere(tx, network_id))
            users = port_store.occupants(tx, network_id, OWNER_DHCP, 5)
            if users:
                raise Conflict(
                    f"Unable to complete operation on network {network_id}. There are one or more ports still in use "
                    f"on the network, id for these ports is: {','.join(users)}.",
                    why="network_in_use",
                )
            port.remove(tx, self._ground, port_store.in_network(tx, network_id))
            for subnet_id in subnet_store.ids_by_network(tx, [network_id]).get(network_id, []):
                subnet_store.remove(tx, subnet_id)
                quota.refund(tx, f"subnet:{subnet_id}")
            sharing.forget(tx, network_id)
            network_store.remove(tx, network_id)
            quota.refund(tx, f"network:{network_id}")

        await self._ground.db.write(work)

    async def get(self, context: Context, network_id: str) -> Network:
        """One network that the caller may see. Raises NotFound."""
        return await self._ground.db.read(lambda tx: network_store.get(tx, sight(context), network_id))

    async def find(self, context: Context, listing: Listing) -> list[Network]:
        """A page of the networks that the caller may see."""
        return await self._ground.db.read(lambda tx: network_store.find(tx, sight(context), listing))


def insert(tx: Tx, ground: Ground, project_id: str, new: NewNetwork) -> Network:
    """Store a new network and charge it."""
    row = Network(
        id=ground.new_id(), project_id=project_id, name=new.name, description=new.description, admin_up=new.admin_up,
        shared=new.shared, external=new.external, mtu=new.mtu, dns_domain=new.dns_domain,
        port_security=new.port_security, tags=(), revision=1, created_at=tx.now, updated_at=tx.now,
    )  # fmt: skip
    quota.charge(tx, project_id, f"network:{row.id}", {"network": 1})
    network_store.add(tx, row)
    for is_wanted, action in ((new.shared, SHARED), (new.external, EXTERNAL)):
        if is_wanted:
            sharing.share(tx, ground, network_store.KIND, row.id, project_id, action)
    return row


def target_project(context: Context, asked: str | None) -> str:
    """The project that a new thing shall belong to.

    Raises Forbidden without one, Invalid for another's without being administrator.
    """
    own = context.scope.project_id or ""
    if asked is None or asked == own:
        if not own:
            raise Forbidden("A token scoped to a project is needed.", why="policy_not_authorized")
        return own
    if not context.is_admin:
        raise Invalid(
            "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin "
            "privileges",
            why="http_bad_request",
        )
    return asked


def _check_use(tx: Tx, old: Network, values: Mapping[str, Any]) -> None:
    if old.external and values.get("external") is False and router_store.with_gateway_in(tx, old.id):
        raise Conflict(
            f"External network {old.id} cannot be updated to be made non-external, since it has existing gateway "
            "ports.",
            why="external_network_in_use",
        )


def _grant(tx: Tx, ground: Ground, row: Network, action: str, is_wanted: bool) -> None:
    if is_wanted:
        sharing.share(tx, ground, network_store.KIND, row.id, row.project_id, action)
        return
    try:
        sharing.unshare(tx, network_store.KIND, row.id, row.project_id, action)
    except Conflict:
        if action == EXTERNAL:
            raise
        raise Conflict(
            f"Unable to reconfigure sharing settings for network {row.name}. Multiple tenants are using it.",
            why="invalid_shared_setting",
        ) from None
