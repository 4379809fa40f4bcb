"""A NIC more or less: tell the host what the guest shall have → see that it has it. A guest that is off gets it at its
next start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import POWERS, PowerFlow, missing
from kilonova.cloud.network.model import NicsTold
from kilonova.cloud.server import store
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nic import view_of
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Fail, Next, Run


class Network(landing.Network, Protocol):
    """The part of the network service that NICs need."""

    def told(self, tx: Tx, server_ids: Sequence[str]) -> Mapping[str, NicsTold]:
        """What there is to say of servers' NICs."""


class Attachments(Protocol):
    """What becomes of the port."""

    def settle(self, tx: Tx, port_id: str) -> None:
        """The guest has it."""

    def detach(self, tx: Tx, server_id: str, port_id: str) -> None:
        """Delete it, or free it if a user brought it."""


class _Rewire(PowerFlow):
    """Frame: `port`, `phase` (the server's, which stays)."""

    arrival: ClassVar[str] = "return"

    def __init__(self, db: Database, network: Network, attachments: Attachments, nodes: Nodes) -> None:
        super().__init__(db, nodes)
        self._network = network
        self._attachments = attachments

    def power(self, frame: Mapping[str, Any]) -> str:
        return POWERS.get(frame["phase"], "stopped")

    async def _tell(self, run: Run) -> Next | Fail:
        if (gone := missing(await self._guest(run))) is not None:
            return gone

        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            if (guest := guests.here(tx, server)) is not None:
                self._wire(tx, guest, run, self._without(run.frame))

        return Next(commit, wait=guests.subject(run.subject_id))

    def _wire(self, tx: Tx, guest: Guest, run: Run, without: str = "") -> None:
        """The guest shall have the server's NICs, but for one."""
        ports = self._network.port_docs(tx, run.subject_id, guest.host_id)
        left = tuple(port for port in ports if port.port_id != without)
        changed = {"ports": left, "nic_changes": guest.spec.nic_changes + 1}
        guests.change(tx, self._nodes, guest, run.request_id, **changed)

    def _without(self, frame: Mapping[str, Any]) -> str:
        return ""

    def _views(self, tx: Tx, server: Server) -> dict[str, Any]:
        told = self._network.told(tx, [server.id]).get(server.id)
        return {"nics": tuple(view_of(nic) for nic in told.nics) if told else ()}

    def _give_back(self, tx: Tx, run: Run) -> None:
        """What a failure takes back."""

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        self._give_back(tx, run)
        server = store.lock(tx, ALL, run.subject_id)
        store.move(tx, server, self.arrival, fault=guests.fault(failure, tx.now))
        if (guest := guests.here(tx, server)) is not None:
            self._wire(tx, guest, run)


class ServerAttachInterface(_Rewire):
    """The port is there already, bound to the host; one that the guest does not take goes again."""

    name: ClassVar[str] = "server_attach_interface"
    event: ClassVar[str] = "compute_attach_interface"

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        self._attachments.settle(tx, run.frame["port"])
        return self._views(tx, server)

    def _give_back(self, tx: Tx, run: Run) -> None:
        self._attachments.detach(tx, run.subject_id, run.frame["port"])


class ServerDetachInterface(_Rewire):
    """The port is the server's until the guest has let it go."""

    name: ClassVar[str] = "server_detach_interface"
    event: ClassVar[str] = "compute_detach_interface"

    def _without(self, frame: Mapping[str, Any]) -> str:
        return str(frame["port"])

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        self._attachments.detach(tx, server.id, run.frame["port"])
        return self._views(tx, server)
