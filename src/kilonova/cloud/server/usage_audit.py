"""The usage audit: at the end of each period, one event for every server that was there, for whoever sends bills.

Source: Nova's `instance_usage_audit` and `instance_usage_audit_period`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Literal

from kilonova.cloud.host import store as hosts
from kilonova.cloud.server import store, trace, usage_audit_store
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.usage_audit_store import Audited
from kilonova.core.context import ALL
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database, Tx

Unit = Literal["hour", "day", "month", "year"]
PAGE: Final = 500
_FIRST: Final[Mapping[Unit, Mapping[str, int]]] = {
    "hour": {"minute": 0, "second": 0, "microsecond": 0},
    "day": {"hour": 0, "minute": 0, "second": 0, "microsecond": 0},
    "month": {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0},
    "year": {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0},
}


@dataclass(frozen=True, slots=True)
class Period:
    """From `begin` on, up to `end`."""

    begin: datetime
    end: datetime

    @property
    def micros(self) -> tuple[int, int]:
        """Both in µs since the epoch."""
        return int(self.begin.timestamp()) * SECOND, int(self.end.timestamp()) * SECOND


def last_completed(unit: Unit, before: datetime) -> Period:
    """The last whole period, in UTC, that was over by `before`."""
    end = _start(unit, before)
    return Period(_start(unit, end - timedelta(microseconds=1)), end)


def _start(unit: Unit, moment: datetime) -> datetime:
    return moment.replace(**_FIRST[unit])  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Report:
    """How far the audit of a period is: the hosts that are done, and the names of those that are not."""

    period: Period
    done: Sequence[Audited]
    missing: Sequence[str]


class UsageAudit:
    """`unit`: how long a period is; a month, as in Nova unless told otherwise."""

    def __init__(self, db: Database, clock: Clock, unit: Unit = "month") -> None:
        self._db = db
        self._clock = clock
        self._unit = unit

    async def report(self, before: datetime | None = None) -> Report:
        """The audit of the last period that was over by `before` (now)."""
        period = last_completed(self._unit, before or self._now())

        def work(tx: Tx) -> Report:
            done = usage_audit_store.of_period(tx, *period.micros)
            names = {one.host for one in done}
            missing = [host.name for host in hosts.list_all(tx) if host.name not in names]
            return Report(period, done, missing)

        return await self._db.read(work)

    async def run(self) -> None:
        """Audit the hosts that are not yet done for the last period. A host and its servers' events are one
        transaction: each server is told of once, however often and wherever this is done."""
        report = await self.report()
        if not report.missing:
            return
        begin, end = report.period.micros
        found = await self._servers(begin, end)
        for host in report.missing:
            await self._db.write(partial(_write, begin=begin, end=end, host=host, servers=found.get(host, [])))

    async def _servers(self, begin: int, end: int) -> dict[str, list[Server]]:
        """The servers of the period by the name of the host that they are or were last on."""
        found: dict[str, list[Server]] = {}
        marker: str | None = None
        while True:
            page = await self._db.read(partial(store.used, scope=ALL, start=begin, end=end, marker=marker, limit=PAGE))
            for one in page:
                found.setdefault(one.host_name or "", []).append(one)
            if len(page) < PAGE:
                return found
            marker = page[-1].id

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now() / SECOND, UTC)


def _write(tx: Tx, begin: int, end: int, host: str, servers: Sequence[Server]) -> None:
    if usage_audit_store.add(tx, begin, end, host, len(servers)) and servers:
        trace.audited(tx, servers, begin, end)
