"""Reading libvirt's domains: whose they are, how they are, what an event about them means. Blocks: for pool threads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kilonova.node.driver.virt.domain_xml import NAMESPACE, domain_name, parse_metadata
from kilonova.node.driver.virt.port import GuestState, PowerEvent, RunState
from kilonova.node.driver.virt.process import convert_ticks, read_pid, read_start_ticks

_NAME = re.compile(r"kn-([0-9a-f]{6})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_PID_FILES = Path("/run/libvirt/qemu")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def owner_of(name: str) -> tuple[str, str]:
    """(cloud id, server id) by a domain's name; empty when it is not named like a guest of any kilonova."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2]) if match else ("", "")


def find(libvirt: Any, connection: Any, cloud_id: str, server_id: str) -> Any | None:
    """The cloud's domain for a server, or None. A domain of that UUID which is not ours counts as none."""
    try:
        domain = connection.lookupByName(domain_name(cloud_id, server_id))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    return domain if read_fence(libvirt, domain, cloud_id) is not None else None


def read_fence(libvirt: Any, domain: Any, cloud_id: str) -> int | None:
    """The fence that the last `define` wrote; None when the domain lacks our metadata or is gone."""
    # The stored definition: what a running guest was started with may be older.
    for flag in (libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_LIVE):
        try:
            text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, flag)
            owner, fence = parse_metadata(text)
        except libvirt.libvirtError as error:
            # OPERATION_INVALID: undefined by hand while it runs, only the live definition is left.
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                continue
            if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
                return None
            raise
        except ValueError:
            return None
        return fence if owner == cloud_id else None
    return None


def describe(libvirt: Any, domain: Any, cloud_id: str) -> GuestState | None:
    """The guest as it is now; None when it is not ours or vanished meanwhile."""
    fence = read_fence(libvirt, domain, cloud_id)
    if fence is None:
        return None
    try:
        state, reason = domain.state()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    run_state = _translate_state(libvirt, domain, state, reason)
    start, since = _read_start(domain) if run_state in ("running", "paused") else ("", 0.0)
    return GuestState(owner_of(domain.name())[1], run_state, fence, start, since)


def is_off(libvirt: Any, state: int) -> bool:
    """Whether no process of the guest exists, by the state number."""
    return state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_NOSTATE)


def translate(libvirt: Any, server_id: str, event: int, detail: int) -> PowerEvent | None:
    """A lifecycle event in the port's words; None for those that change nothing (defined, going down)."""
    if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
        return PowerEvent(server_id, "started")
    if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
        return PowerEvent(server_id, "paused")
    if event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
        return PowerEvent(server_id, "resumed")
    if event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
        return PowerEvent(server_id, "crashed")
    if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
        return PowerEvent(server_id, "undefined")
    if event != libvirt.VIR_DOMAIN_EVENT_STOPPED:
        return None
    if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED:
        return PowerEvent(server_id, "suspended")
    if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
        return PowerEvent(server_id, "shutdown")
    if detail in (libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED):
        return PowerEvent(server_id, "crashed")
    return PowerEvent(server_id, "destroyed")


def power_off_action(text: str) -> str:
    """`on_poweroff` of a domain's live XML."""
    return ElementTree.fromstring(text).findtext("on_poweroff", "")  # noqa: S314 (libvirtd's own answer)


def undefine_flags(libvirt: Any) -> int:
    """What lets nothing of a domain be kept."""
    return int(
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )


def describe_cpu(capabilities: str) -> str:
    """The host's processor as Nova shows it in `cpu_info`: JSON with arch, model, vendor, topology, features."""
    cpu = ElementTree.fromstring(capabilities).find("host/cpu")  # noqa: S314 (libvirtd's own answer)
    if cpu is None:
        return ""
    topology = cpu.find("topology")
    names = ("cells", "sockets", "dies", "cores", "threads")
    return json.dumps(
        {
            "arch": cpu.findtext("arch", ""),
            "model": cpu.findtext("model", ""),
            "vendor": cpu.findtext("vendor", ""),
            "topology": {n: int(topology.get(n, "1")) for n in names} if topology is not None else {},
            "features": sorted(feature.get("name", "") for feature in cpu.iterfind("feature")),
        }
    )


def _translate_state(libvirt: Any, domain: Any, state: int, reason: int) -> RunState:
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return "crashed"
    if is_off(libvirt, state):
        if domain.hasManagedSaveImage():
            return "suspended"
        # FAILED: the process was there but libvirtd could not go on with it.
        bad = (libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_FAILED)
        return "crashed" if state == libvirt.VIR_DOMAIN_SHUTOFF and reason in bad else "stopped"
    if state == libvirt.VIR_DOMAIN_PAUSED:
        # Until libvirt has decided that a guest has come, it does not define it. One that goes stands still at the end.
        going = (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY)
        if reason in going or not domain.isPersistent():
            return "moving"
    return "paused" if state in (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED) else "running"


def _read_start(domain: Any) -> tuple[str, float]:
    """A token for this run of QEMU, the same as long as the process lives (libvirtd may restart), and its start time.

    Process number, its start in clock ticks and the kernel's boot id: no two runs share all three.
    """
    pid = read_pid(_PID_FILES / f"{domain.name()}.pid")
    ticks = read_start_ticks(pid) if pid is not None else None
    if ticks is None:
        # libvirtd is elsewhere or the guest just ended: its id for this run must do.
        return f"id-{domain.ID()}", 0.0
    return f"{_BOOT_ID.read_text()[:8]}-{pid}-{ticks}", convert_ticks(ticks)
