"""Stories, decisions and numbers as JSON documents. Times are µs since the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kilonova.cloud.audit.model import Finding
from kilonova.cloud.event.model import Event as Change
from kilonova.cloud.host.model import Host
from kilonova.cloud.server.census import Numbers
from kilonova.cloud.server.drain import Drain
from kilonova.core.decision import Decision
from kilonova.kit.ops.story import Event, Tale


def story(server_id: str, tales: Sequence[Tale], *, operator: bool) -> dict[str, Any]:
    """Every operation on a server, the oldest first; operators also see hosts and private details."""
    return {"server_id": server_id, "operations": [_tale(tale, operator) for tale in reversed(tales)]}


def _tale(tale: Tale, operator: bool) -> dict[str, Any]:
    return {
        "id": tale.id,
        "flow": tale.flow,
        "action": tale.action,
        "request_id": tale.request_id,
        "user_id": tale.user_id,
        "started_at": tale.started_at,
        "finished_at": tale.finished_at,
        "step": tale.step,
        "outcome": tale.outcome or "running",
        "error": _error(tale.error, operator),
        "events": [_event(event, operator) for event in tale.events],
    }


def _event(event: Event, operator: bool) -> dict[str, Any]:
    shown = asdict(event)
    return shown if operator else {key: shown[key] for key in shown if key not in ("host", "details")}


def _error(error: Mapping[str, Any] | None, operator: bool) -> dict[str, Any] | None:
    if error is None:
        return None
    return {key: value for key, value in error.items() if operator or key != "detail"}


def decision(found: Decision, names: Mapping[str, Host], *, operator: bool) -> dict[str, Any]:
    """Whether a server would find a place, and per constraint how many hosts it removed; operators also learn which
    hosts are left and how near the others came."""
    reasons: list[dict[str, Any]] = [{"constraint": r.constraint, "removed": r.removed} for r in found.reasons]
    shown: dict[str, Any] = {"fits": bool(found.chosen), "considered": found.considered, "reasons": reasons}
    if not operator:
        return shown
    for reason, told in zip(found.reasons, reasons, strict=True):
        told["nearest"] = reason.nearest
    hosts = [names[h].name if h in names else h for h in found.chosen]
    return {**shown, "hosts": hosts, "summary": found.explain()}


def status(numbers: Numbers, version: str) -> dict[str, Any]:
    """The cloud in numbers."""
    return {
        "version": version,
        "hosts": [_host(host) for host in numbers.hosts],
        "servers": dict(sorted(numbers.servers.items())),
        "operations": numbers.operations,
        "debts": numbers.debts,
    }


def findings(found: Sequence[Finding]) -> dict[str, Any]:
    """What an audit found."""
    return {"findings": [asdict(one) for one in found]}


def _host(host: Host) -> dict[str, Any]:
    return {
        "id": host.id,
        "name": host.name,
        "zone": host.zone,
        "up": host.up,
        "enabled": host.enabled,
        "disabled_reason": host.disabled_reason,
        "hypervisor_type": host.hypervisor_type,
        "vcpus": {"used": host.vcpus_used, "capacity": host.vcpus_capacity},
        "memory_mb": {"used": host.memory_used, "capacity": host.memory_capacity},
        "disk_gb": {"used": host.disk_used, "capacity": host.disk_capacity},
    }


def drain(host: Host, found: Drain) -> dict[str, Any]:
    """How far a host is; `maintenance`: it is disabled, and has no servers."""
    return {
        "host": host.name,
        "state": found.state,
        "total": found.total,
        "left": len(found.left),
        "servers": [{"id": server_id, "phase": phase} for server_id, phase in found.left.items()],
        "failed": [{"id": server_id, "reason": why} for server_id, why in found.failed.items()],
        "maintenance": not host.enabled and not found.left,
        "started_at": found.started_at,
        "finished_at": found.finished_at or None,
    }


def change(event: Change, *, operator: bool) -> dict[str, Any]:
    """An event of a server; operators also see the host."""
    told = {key: value for key, value in event.body.items() if operator or key != "host"}
    names = {"server_id": event.server_id, "project_id": event.project_id}
    return {"id": event.seq, "kind": event.kind, "at": event.at, **names, **told}
