"""NICs of servers that come and go while the server is there."""

from __future__ import annotations

from dataclasses import replace

from kilonova.cloud.network import network_store, port_store
from kilonova.cloud.network import port as porting
from kilonova.cloud.network.allocation import MOST, OWNER, Allocation
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import ACTIVE, DOWN, OWNER_COMPUTE, Change, CheckedNic, NicRequest, Port
from kilonova.core.context import Context
from kilonova.core.errors import Invalid, NotFound
from kilonova.kit.db import Tx


class Attachments:
    """Every method works inside the caller's transaction."""

    def __init__(self, ground: Ground, allocation: Allocation) -> None:
        self._ground = ground
        self._allocation = allocation

    def attach(
        self, tx: Tx, context: Context, request: NicRequest, *, server_id: str, project_id: str, host_id: str,
        hostname: str,
    ) -> Port:  # fmt: skip
        """The port of one more NIC of a server, after those that it has; DOWN until `settle`.

        Raises NotFound, Invalid, Conflict, QuotaExceeded, NoCapacity.
        """
        has = self._nics(tx, server_id)
        if len(has) >= MOST:
            raise Invalid(f"Server {server_id} has {MOST} network interfaces already: it can have no more")
        nic = self._check(tx, context, request)
        last = max((p.nic_index or 0 for p in has), default=-1)
        blank = replace(
            porting.blank(tx, "", "", project_id), device_id=server_id, device_owner=OWNER, host_id=host_id,
            hostname=hostname, nic_index=last + 1, tag=nic.tag,
        )  # fmt: skip
        port = self._allocation.provide(tx, blank, nic, ())
        return self._set(tx, port, DOWN)

    def settle(self, tx: Tx, port_id: str) -> None:
        """The guest has it."""
        for port in port_store.by_ids(tx, [port_id]):
            self._set(tx, port, ACTIVE if port.admin_up else DOWN)

    def turn(self, tx: Tx, server_id: str, port_id: str, *, active: bool) -> bool:
        """Say that a server's NIC carries, or does not; False when the server has no such NIC."""
        for port in self._nics(tx, server_id):
            if port.id == port_id:
                self._set(tx, port, ACTIVE if active else DOWN)
                return True
        return False

    def detach(self, tx: Tx, server_id: str, port_id: str) -> None:
        """Delete a port that was made for its server, free one that a user brought; again does nothing."""
        for port in self._nics(tx, server_id):
            if port.id == port_id and port.made:
                porting.remove(tx, self._ground, [port])
            elif port.id == port_id:
                porting.free(tx, self._ground, port)

    def find(self, tx: Tx, server_id: str, port_id: str) -> Port:
        """The port of a server's NIC. Raises NotFound."""
        for port in self._nics(tx, server_id, lock=False):
            if port.id == port_id:
                return port
        raise NotFound(f"Port {port_id[:64]} is not attached to instance {server_id}")

    def _check(self, tx: Tx, context: Context, request: NicRequest) -> CheckedNic:
        """What a boot says is Invalid of what it names, is NotFound here, as Nova has it."""
        if request.port_id is not None:
            port_store.get(tx, sight(context), request.port_id)
        elif request.network_id is not None:
            network_store.get(tx, sight(context), request.network_id)
        else:
            found = network_store.usable(tx, context.project_id or "")
            if not found:
                raise Invalid(
                    f"No specific network was requested and none are available for project '{context.project_id}'."
                )
            if len(found) > 1:
                raise Invalid("Multiple possible networks found, use a Network ID to be more specific.")
        return self._allocation.check_one(tx, context, request)

    def _nics(self, tx: Tx, server_id: str, *, lock: bool = True) -> list[Port]:
        found = port_store.of_device(tx, [server_id], OWNER_COMPUTE, lock=lock)
        return [port for port in found if port.nic_index is not None]

    def _set(self, tx: Tx, port: Port, status: str) -> Port:
        if port.status == status:
            return port
        port_store.change(tx, port.id, {"status": status})
        self._ground.tell(tx, Change("port", port.id))
        return replace(port, status=status)
