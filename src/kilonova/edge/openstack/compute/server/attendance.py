"""What is asked of, or done to, a running guest at once: password, crash dump, diagnostics, topology."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.server.attendance import Attendance
from kilonova.cloud.server.service import ServerService
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import boxed, record
from kilonova.edge.openstack.compute.server.attempt import PATH, attempt
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.edge.openstack.compute.server.schema import PASSWORD
from kilonova.kit.http import Request, Route
from kilonova.wire.node import Diagnostics, DiskUse, NicUse

_PASSWORD: Final = boxed("changePassword", record({"adminPass": PASSWORD}, "adminPass"))
_DUMP: Final = boxed("trigger_crash_dump", {"type": "null"})


class AttendanceRoutes:
    """Handlers of what needs a guest that runs."""

    def __init__(self, servers: ServerService, attendance: Attendance) -> None:
        self._servers = servers
        self._attendance = attendance

    def routes(self) -> list[Route]:
        one = "/servers/{server_id}"
        return [
            Route(
                "POST", PATH, self.set_password, f"{PREFIX}os-admin-password", schema=_PASSWORD,
                action="changePassword", success=202,
            ),
            Route(
                "POST", PATH, self.interrupt, f"{PREFIX}servers:trigger_crash_dump", schema=_DUMP,
                action="trigger_crash_dump", min_version=(2, 17), success=202,
            ),
            Route("GET", f"{one}/os-server-password", self.show_password, f"{PREFIX}os-server-password:show"),
            Route("DELETE", f"{one}/os-server-password", self.clear_password, f"{PREFIX}os-server-password:clear",
                  success=204),
            Route("GET", f"{one}/diagnostics", self.diagnose, f"{PREFIX}os-server-diagnostics"),
            Route("GET", f"{one}/topology", self.topology, f"{PREFIX}compute:server:topology:index",
                  min_version=(2, 78)),
        ]  # fmt: skip

    async def set_password(self, request: Request) -> None:
        """API reference "Change Administrative Password"."""
        identifier, password = server_id(request), request.json["changePassword"]["adminPass"]
        work = self._attendance.set_password(request.context, reach(request), identifier, password)
        await attempt("changePassword", identifier, work)

    async def show_password(self, request: Request) -> dict[str, Any]:
        """API reference "Show Server Password": what the guest told, encrypted by the owner's key."""
        return {"password": (await self._servers.get(reach(request), server_id(request))).password}

    async def clear_password(self, request: Request) -> None:
        """API reference "Clear Admin Password": what is kept here; the guest's own stays."""
        await self._attendance.clear_password(reach(request), server_id(request))

    async def interrupt(self, request: Request) -> None:
        """API reference "Trigger Crash Dump In Server"."""
        identifier = server_id(request)
        work = self._attendance.interrupt(request.context, reach(request), identifier)
        await attempt("trigger_crash_dump", identifier, work)

    async def diagnose(self, request: Request) -> dict[str, Any]:
        """API reference "Show Server Diagnostics": of one running guest, asked of its host."""
        identifier = server_id(request)
        work = self._attendance.diagnose(reach(request), identifier)
        server, found = await attempt("get_diagnostics", identifier, work)
        return _standard(found, config_drive=server.config_drive) if request.version >= (2, 48) else _libvirt(found)

    async def topology(self, request: Request) -> dict[str, Any]:
        """API reference "Show Server Topology": no guest is laid out by NUMA cells, so there is nothing to list."""
        await self._servers.get(reach(request), server_id(request))
        return {"nodes": [], "pagesize_kb": None}


def _standard(found: Diagnostics, *, config_drive: bool) -> dict[str, Any]:
    """From 2.48, the same for all hypervisors."""
    return {
        "state": found.state, "driver": found.driver, "hypervisor": found.hypervisor, "hypervisor_os": "linux",
        "uptime": found.uptime, "config_drive": config_drive,
        "num_cpus": len(found.cpus), "num_nics": len(found.nics), "num_disks": len(found.disks),
        "cpu_details": [{"id": n, "time": time, "utilisation": None} for n, time in enumerate(found.cpus)],
        "memory_details": {"maximum": found.memory_mb, "used": found.memory_used_mb},
        "nic_details": [_nic(nic) for nic in found.nics],
        "disk_details": [_disk(disk) for disk in found.disks],
    }  # fmt: skip


def _nic(nic: NicUse) -> dict[str, Any]:
    return {
        "mac_address": nic.mac,
        "rx_octets": nic.rx_bytes, "rx_packets": nic.rx_packets, "rx_errors": nic.rx_errors, "rx_drop": nic.rx_drop,
        "tx_octets": nic.tx_bytes, "tx_packets": nic.tx_packets, "tx_errors": nic.tx_errors, "tx_drop": nic.tx_drop,
        "rx_rate": None, "tx_rate": None,
    }  # fmt: skip


def _disk(disk: DiskUse) -> dict[str, Any]:
    return {
        "read_bytes": disk.read_bytes, "read_requests": disk.read_requests, "write_bytes": disk.write_bytes,
        "write_requests": disk.write_requests, "errors_count": disk.errors,
    }  # fmt: skip


def _libvirt(found: Diagnostics) -> dict[str, Any]:
    """Before 2.48: names as Nova's libvirt driver made them."""
    shown: dict[str, Any] = {f"cpu{n}_time": time for n, time in enumerate(found.cpus)}
    shown |= {"memory": found.memory_mb * 1024, "memory-rss": found.memory_used_mb * 1024}
    for disk in found.disks:
        shown |= {
            f"{disk.name}_read": disk.read_bytes, f"{disk.name}_read_req": disk.read_requests,
            f"{disk.name}_write": disk.write_bytes, f"{disk.name}_write_req": disk.write_requests,
            f"{disk.name}_errors": disk.errors,
        }  # fmt: skip
    for nic in found.nics:
        shown |= {
            f"{nic.name}_rx": nic.rx_bytes, f"{nic.name}_rx_packets": nic.rx_packets,
            f"{nic.name}_rx_errors": nic.rx_errors, f"{nic.name}_rx_drop": nic.rx_drop,
            f"{nic.name}_tx": nic.tx_bytes, f"{nic.name}_tx_packets": nic.tx_packets,
            f"{nic.name}_tx_errors": nic.tx_errors, f"{nic.name}_tx_drop": nic.tx_drop,
        }  # fmt: skip
    return shown
