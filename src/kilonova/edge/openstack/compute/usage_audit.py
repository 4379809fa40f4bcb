"""`/os-instance_usage_audit_log` (API reference "Server usage audit log"): how far the audit of a period is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from kilonova.cloud.server.usage_audit import Report, UsageAudit
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.kit.http import Request, Route

_FORMATS: Final = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f")


class UsageAuditRoutes:
    """Handlers of the audit's log."""

    def __init__(self, audit: UsageAudit) -> None:
        self._audit = audit

    def routes(self) -> list[Route]:
        every, rule = "/os-instance_usage_audit_log", f"{PREFIX}os-instance-usage-audit-log:"
        return [
            Route("GET", every, self.list, f"{rule}list"),
            Route("GET", f"{every}/{{before}}", self.show, f"{rule}show"),
        ]

    async def list(self, request: Request) -> dict[str, Any]:
        """Of the last period that is over."""
        return {"instance_usage_audit_logs": _shown(await self._audit.report())}

    async def show(self, request: Request) -> dict[str, Any]:
        """Of the last period that was over by a moment in UTC."""
        return {"instance_usage_audit_log": _shown(await self._audit.report(_moment(request.params["before"])))}


def _moment(text: str) -> datetime:
    for form in _FORMATS:
        try:
            found = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if found.year > 1970:
            return found
    raise Invalid(f"Invalid timestamp for date {text[:64]}")


def _shown(report: Report) -> dict[str, Any]:
    done, hosts = len(report.done), len(report.done) + len(report.missing)
    return {
        "period_beginning": f"{report.period.begin:%Y-%m-%d %H:%M:%S}",
        "period_ending": f"{report.period.end:%Y-%m-%d %H:%M:%S}",
        "num_hosts": hosts,
        "num_hosts_done": done,
        "num_hosts_running": 0,
        "num_hosts_not_run": len(report.missing),
        "hosts_not_run": list(report.missing),
        "total_instances": sum(one.servers for one in report.done),
        "total_errors": 0,
        "overall_status": f"{done if report.missing else 'ALL'}{f' of {hosts}' if report.missing else ''} hosts done. "
        "0 errors.",
        "log": {
            one.host: {
                "state": "DONE",
                "instances": one.servers,
                "errors": 0,
                "message": f"Instance usage audit ran for host {one.host}, {one.servers} instances.",
            }
            for one in report.done
        },
    }
