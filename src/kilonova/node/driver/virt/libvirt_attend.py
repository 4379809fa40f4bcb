"""What is done to running domains: NICs that come and go, passwords, interrupts, and what they used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic, time
from typing import Any, Final, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.domain_xml import agent_connected, nic_element
from kilonova.node.driver.virt.libvirt_domain import describe
from kilonova.node.driver.virt.port import NicDevice
from kilonova.wire.hardware import Hardware
from kilonova.wire.node import ConsoleKind, Diagnostics, DiskUse, NicUse

T = TypeVar("T")
Call = Callable[[Callable[[Any], T]], Awaitable[T]]
LET_GO_SECONDS: Final = 30.0
ASK_AGAIN_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.2


async def rewire(libvirt: Any, call: Call[Any], hardware: Hardware, nics: tuple[NicDevice, ...]) -> None:
    """Plug what is missing, then take what is not wanted any more, and wait until the guest has let go of it: one that
    still boots does not hear the first request."""
    wanted = {nic.mac: nic for nic in nics if nic.bridge}
    has = await call(partial(_nics, libvirt))
    for mac, nic in wanted.items():
        if mac not in has:
            text = ElementTree.tostring(nic_element(nic, hardware), encoding="unicode")
            await call(partial(_attach, libvirt, text))
    deadline, asked = monotonic() + LET_GO_SECONDS, 0.0
    while extra := {mac: text for mac, text in (await call(partial(_nics, libvirt))).items() if mac not in wanted}:
        if monotonic() > deadline:
            raise DriverError("nic_held", "The guest does not let go of its network interface.")
        if monotonic() - asked > ASK_AGAIN_SECONDS:
            asked = monotonic()
            for text in extra.values():
                await call(partial(_detach, libvirt, text))
        await asyncio.sleep(LOOK_SECONDS)


def set_password(libvirt: Any, domain: Any, user: str, password: str) -> None:
    """By the guest's agent; for a worker thread of its own, since an agent may take long not to answer."""
    if not domain.isActive():
        raise DriverError("not_running", "The guest does not run.")
    if not agent_connected(domain.XMLDesc()):
        raise DriverError("no_agent", "The guest's agent does not answer.")
    try:
        domain.setUserPassword(user, password)
    except libvirt.libvirtError as error:
        raise DriverError("no_agent", "The guest's agent did not change the password.", detail=str(error)) from error


def interrupt(libvirt: Any, domain: Any) -> None:
    """See the port."""
    if not domain.isActive():
        raise DriverError("not_running", "The guest does not run.")
    domain.injectNMI()


def console_address(kind: ConsoleKind, domain: Any) -> str:
    """See the port. A domain that was started by an older kilonova has neither."""
    if not domain.isActive():
        raise DriverError("not_running", "The guest does not run.")
    live = ElementTree.fromstring(domain.XMLDesc())  # noqa: S314 (libvirtd's own answer)
    if kind == "vnc":
        path = _attribute(live, "devices/graphics[@type='vnc']/listen", "socket")
    else:
        path = _attribute(live, "devices/serial[@type='unix']/source", "path")
    if not path:
        raise DriverError("no_console", "The guest has no console of that kind until it is started again.")
    return f"unix:{path}"


def _attribute(domain: Element, path: str, name: str) -> str:
    found = domain.find(path)
    return found.get(name, "") if found is not None else ""


def diagnose(libvirt: Any, cloud_id: str, domain: Any) -> Diagnostics:
    """See the port."""
    guest = describe(libvirt, domain, cloud_id)
    if guest is None or guest.state not in ("running", "paused"):
        raise DriverError("not_running", "The guest does not run.")
    [(_, stats)] = domain.connect().domainListGetStats([domain])
    macs = _macs(domain.XMLDesc())
    return Diagnostics(
        driver="libvirt",
        hypervisor=str(domain.connect().getType()).lower(),
        state=guest.state,
        uptime=max(0, int(time() - guest.since)) if guest.since else 0,
        cpus=tuple(int(stats.get(f"vcpu.{n}.time", 0)) for n in range(stats.get("vcpu.current", 0))),
        memory_mb=int(stats.get("balloon.maximum", 0)) // 1024,
        memory_used_mb=int(stats.get("balloon.rss", 0)) // 1024,
        nics=tuple(_nic(stats, n, macs) for n in range(stats.get("net.count", 0))),
        disks=tuple(_disk(stats, n) for n in range(stats.get("block.count", 0))),
    )


def _nics(libvirt: Any, domain: Any) -> dict[str, str]:
    """The NICs of a running domain: what each is defined by, by MAC."""
    if not domain.isActive():
        raise DriverError("not_running", "The guest does not run.")
    found = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/interface")  # noqa: S314 (libvirtd's own answer)
    return {_mac(element): ElementTree.tostring(element, encoding="unicode") for element in found}


def _attach(libvirt: Any, text: str, domain: Any) -> None:
    domain.attachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _detach(libvirt: Any, text: str, domain: Any) -> None:
    try:
        domain.detachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        # It has gone meanwhile, or its unplugging is under way already: whoever asks looks whether it is there.
        if error.get_error_code() not in (libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_OPERATION_FAILED):
            raise


def _mac(element: Element) -> str:
    mac = element.find("mac")
    return mac.get("address", "") if mac is not None else ""


def _macs(text: str) -> dict[str, str]:
    found = {}
    for element in ElementTree.fromstring(text).iterfind("devices/interface"):  # noqa: S314 (libvirtd's own answer)
        target = element.find("target")
        if target is not None:
            found[target.get("dev", "")] = _mac(element)
    return found


def _nic(stats: dict[str, Any], number: int, macs: dict[str, str]) -> NicUse:
    def of(name: str) -> int:
        # What the host sends is what the guest receives: libvirt counts for the guest already.
        return int(stats.get(f"net.{number}.{name}", 0))

    device = str(stats.get(f"net.{number}.name", ""))
    return NicUse(
        name=device, mac=macs.get(device, ""),
        rx_bytes=of("rx.bytes"), rx_packets=of("rx.pkts"), rx_errors=of("rx.errs"), rx_drop=of("rx.drop"),
        tx_bytes=of("tx.bytes"), tx_packets=of("tx.pkts"), tx_errors=of("tx.errs"), tx_drop=of("tx.drop"),
    )  # fmt: skip


def _disk(stats: dict[str, Any], number: int) -> DiskUse:
    def of(name: str) -> int:
        return int(stats.get(f"block.{number}.{name}", 0))

    return DiskUse(
        name=str(stats.get(f"block.{number}.name", "")),
        read_bytes=of("rd.bytes"), read_requests=of("rd.reqs"),
        write_bytes=of("wr.bytes"), write_requests=of("wr.reqs"), errors=of("errors"),
    )  # fmt: skip
