"""What a server asks of its host beside room: its group's policy and its scheduler hints."""

from __future__ import annotations

from typing import Any

from kilonova.cloud.scheduler.filters import Wish
from kilonova.cloud.server import group_store
from kilonova.cloud.server.model import Server
from kilonova.core.context import ALL
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx


def wishes_of(tx: Tx, server: Server) -> tuple[Wish, ...]:
    """In the order in which they are asked; none, and nothing is read, for a server that asks for nothing."""
    found = []
    if server.group_id is not None:
        found += _of_group(tx, server, server.group_id)
    hints: dict[str, Any] = server.hints
    if named := hints.get("same_host"):
        found.append(Wish("same host hint", among=frozenset(group_store.hosts_of(tx, server.project_id, named))))
    if named := hints.get("different_host"):
        elsewhere = frozenset(group_store.hosts_of(tx, server.project_id, named))
        found.append(Wish("different host hint", without=elsewhere))
    if query := hints.get("query"):
        found.append(Wish("query hint", query=query))
    return tuple(found)


def admits(tx: Tx, server: Server, host_id: str) -> bool:
    """Whether a server's group lets it go to a host. The group is locked until the commit: parallel claims queue."""
    if server.group_id is None:
        return True
    try:
        group = group_store.get(tx, ALL, server.group_id, lock=True)
    except NotFound:
        return True
    occupied = group_store.occupied(tx, group.id, server.id)
    if group.policy == "affinity":
        return not occupied or host_id in occupied
    return group.policy != "anti-affinity" or occupied[host_id] < group.most


def _of_group(tx: Tx, server: Server, group_id: str) -> list[Wish]:
    try:
        group = group_store.get(tx, ALL, group_id)
    except NotFound:
        return []
    occupied = group_store.occupied(tx, group.id, server.id)
    name = f"server group ({group.policy})"
    if group.policy == "affinity":
        return [Wish(name, among=frozenset(occupied))] if occupied else []
    if group.policy == "anti-affinity":
        return [Wish(name, without=frozenset(h for h, count in occupied.items() if count >= group.most))]
    sign = 1 if group.policy == "soft-affinity" else -1
    return [Wish(name, liking={host_id: sign * count for host_id, count in occupied.items()})]
