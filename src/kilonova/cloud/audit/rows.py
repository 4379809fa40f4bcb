"""What the rows must agree on among themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kilonova.cloud.audit.model import Finding
from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Debt, Host
from kilonova.cloud.identity import store as identity
from kilonova.cloud.placement import allocation_store as allocations
from kilonova.cloud.placement import inventory_store as inventories
from kilonova.cloud.placement import provider_store as providers
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import guest_store
from kilonova.cloud.server import store as servers
from kilonova.cloud.server.demand import HERE, MOVING
from kilonova.cloud.server.phase import is_settled
from kilonova.kit.db import Tx
from kilonova.kit.ops import store as operations

RELEASE = "Remove it by hand, and report this as a bug."


@dataclass(frozen=True, slots=True)
class Rows:
    """One consistent view of everything that the audit compares."""

    hosts: dict[str, Host]
    servers: dict[str, tuple[str, str | None]]
    guests: set[tuple[str, str]]
    debts: list[Debt]
    claims: list[tuple[str, str]]
    charges: list[str]
    busy: set[str]
    locks: list[tuple[str, str, str]]
    operations: dict[str, tuple[str, str]]
    ports: list[tuple[str, str]]
    consumers: dict[str, bool]
    allocations: list[tuple[str, str, bool]]
    providers: list[tuple[str, str]]
    miscounted_inventories: list[tuple[str, str]]
    miscounted_hosts: list[str]
    miscounted_quotas: list[tuple[str, str, int, int]]
    ownerless: list[tuple[str, str]]


def collect(tx: Tx, ports: Iterable[tuple[str, str]]) -> Rows:
    """Read everything in one transaction; `ports` are (port, server) of ports that belong to servers."""
    running = operations.live(tx)
    return Rows(
        hosts={h.id: h for h in hosts.list_all(tx)},
        servers=servers.ids(tx),
        guests=set(guest_store.pairs(tx)),
        debts=hosts.debts(tx),
        claims=hosts.claims(tx),
        charges=[*quota.consumers(tx, HERE), *quota.consumers(tx, MOVING)],
        busy={subject for kind, subject in running.values() if kind == "server"},
        locks=operations.locks(tx),
        operations=running,
        ports=list(ports),
        consumers=allocations.consumer_ids(tx),
        allocations=allocations.owners_of_rows(tx),
        providers=providers.links(tx),
        miscounted_inventories=inventories.miscounted(tx),
        miscounted_hosts=hosts.miscounted(tx),
        miscounted_quotas=quota.recount(tx),
        ownerless=servers.owned_by(tx, identity.gone(tx, "project", servers.owners(tx))),
    )


def check(rows: Rows) -> Iterator[Finding]:
    """Every disagreement among the rows."""
    yield from _check_ledgers(rows)
    yield from _check_operations(rows)
    yield from _check_servers(rows)
    yield from _check_placement(rows)


def _check_ledgers(rows: Rows) -> Iterator[Finding]:
    for host_id, consumer in rows.claims:
        if consumer.startswith(allocations.OTHER):
            continue
        server_id = consumer.partition(":")[2]
        if server_id not in rows.servers:
            yield Finding("claim", consumer, _name(rows, host_id), "its server does not exist", RELEASE)
        elif server_id in rows.busy:
            continue
        elif consumer.startswith(MOVING) and rows.servers[server_id][0] != "resized":
            yield Finding("claim", consumer, _name(rows, host_id), "its server is not being moved", RELEASE)
        elif consumer.startswith(HERE) and rows.servers[server_id][1] != host_id:
            yield Finding("claim", consumer, _name(rows, host_id), "its server is not on this host", RELEASE)
    for consumer in rows.charges:
        if consumer.partition(":")[2] not in rows.servers:
            yield Finding("quota", consumer, "", "its server does not exist", RELEASE)
    for name in rows.miscounted_hosts:
        yield Finding("claim", name, name, "the host's use is not the sum of its claims", "Report this as a bug.")
    for project, resource, counted, charged in rows.miscounted_quotas:
        problem = f"{resource}: the counter says {counted}, the charges say {charged}"
        yield Finding("quota", project, "", problem, "Report this as a bug.")
    charged_servers = {c.removeprefix(HERE) for c in rows.charges}
    for server_id, (phase, _) in rows.servers.items():
        if server_id not in charged_servers and not phase.startswith("soft_deleted"):
            yield Finding("quota", server_id, "", "the server was never charged", "Report this as a bug.")
    for port_id, server_id in rows.ports:
        if server_id not in rows.servers:
            yield Finding("port", port_id, "", f"its server {server_id} does not exist", RELEASE)


def _check_operations(rows: Rows) -> Iterator[Finding]:
    for kind, identifier, operation_id in rows.locks:
        if operation_id not in rows.operations:
            yield Finding("lock", f"{kind}/{identifier}", "", f"operation {operation_id} does not run", RELEASE)
    for operation_id, (kind, identifier) in rows.operations.items():
        if kind == "server" and identifier not in rows.servers:
            problem = f"its server {identifier} does not exist"
            yield Finding("operation", operation_id, "", problem, "Report this as a bug.")


def _check_servers(rows: Rows) -> Iterator[Finding]:
    for server_id, project_id in rows.ownerless:
        problem = f"its project {project_id} was deleted"
        yield Finding("server", server_id, "", problem, "Delete it as an administrator.")
    claimed = {(h, c.removeprefix(HERE)) for h, c in rows.claims}
    for server_id, (phase, host_id) in rows.servers.items():
        if server_id in rows.busy:
            continue
        if not is_settled(phase):
            yield Finding("server", server_id, "", f"it is {phase} and nothing works on it", "Delete or reset it.")
        if host_id is not None and (host_id, server_id) not in claimed:
            yield Finding("server", server_id, _name(rows, host_id), "it has no claim on its host", "Report this.")
        if is_settled(phase) and phase not in ("error", "shelved") and (host_id, server_id) not in rows.guests:
            yield Finding("server", server_id, _name(rows, host_id or ""), "it has no guest", "Report this.")
    for host_id, server_id in rows.guests:
        if server_id not in rows.servers:
            problem = "the record of a guest whose server does not exist"
            yield Finding("guest", server_id, _name(rows, host_id), problem, RELEASE)


def _check_placement(rows: Rows) -> Iterator[Finding]:
    """What was put into Placement, and what is allocated there."""
    known = {provider_id for provider_id, _ in rows.providers} | set(rows.hosts)
    for provider_id, above in rows.providers:
        if (above and above not in known) or (above == provider_id and provider_id not in rows.hosts):
            problem = "its host does not exist" if above == provider_id else f"its parent {above} does not exist"
            yield Finding("provider", provider_id, "", problem, RELEASE)
    for consumer_id, provider_id, is_server in rows.allocations:
        if provider_id not in known:
            problem = f"its provider {provider_id} does not exist"
            yield Finding("allocation", consumer_id, "", problem, RELEASE)
        if is_server and consumer_id not in rows.servers:
            yield Finding("allocation", consumer_id, "", "its server does not exist", RELEASE)
        if consumer_id not in rows.consumers:
            yield Finding("allocation", consumer_id, "", "its consumer does not exist", RELEASE)
    for host_id, consumer in rows.claims:
        who = consumer.removeprefix(allocations.OTHER)
        if consumer.startswith(allocations.OTHER) and who not in rows.consumers:
            yield Finding("claim", consumer, _name(rows, host_id), "its consumer does not exist", RELEASE)
    for provider_id, name in rows.miscounted_inventories:
        problem = f"the use of {name} is not the sum of its allocations"
        yield Finding("inventory", provider_id, "", problem, "Report this as a bug.")


def _name(rows: Rows, host_id: str) -> str:
    host = rows.hosts.get(host_id)
    return host.name if host else host_id
