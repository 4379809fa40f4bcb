"""libvirt's errors in the words of the port."""

from __future__ import annotations

from typing import Any

from kilonova.node.driver.failure import DriverError

_WORDS: tuple[tuple[str, str, str, bool], ...] = (
    ("cannot allocate memory", "no_memory", "The host has no memory left for the guest.", True),
    ("cannot set up guest memory", "no_memory", "The host has no memory left for the guest.", True),
    ("no space left", "no_space", "The host's disk is full.", True),
    (
        "cannot access storage file",
        "no_disk",
        "A disk of the guest is missing or the hypervisor may not read it.",
        False,
    ),
    ("permission denied", "no_disk", "The hypervisor may not read a disk of the guest.", False),
    ('failed to get "write" lock', "disk_in_use", "A disk of the guest is in use by another process.", True),
    ("cannot get interface mtu", "no_bridge", "The guest's network is not there yet.", True),
    ("qdisc kind is unknown", "no_nic_limits", "The host's kernel cannot limit what a NIC carries.", True),
    ("unable to add port", "no_bridge", "The guest's network is not there yet.", True),
)


def is_disconnect(libvirt: Any, error: Exception) -> bool:
    """Whether a libvirtError says that the connection to libvirtd is gone, not that libvirtd refused."""
    code = error.get_error_code()  # type: ignore[attr-defined]
    domain = error.get_error_domain()  # type: ignore[attr-defined]
    if code in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC):
        return True
    return domain in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE) and code in (
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_INTERNAL_ERROR,
    )


def explain(libvirt: Any, error: Exception) -> DriverError:
    """The DriverError for a libvirtError. libvirt's own text goes into `detail`: it names paths of the host."""
    detail = str(error)
    code = error.get_error_code()  # type: ignore[attr-defined]
    if is_disconnect(libvirt, error):
        return DriverError("unavailable", "The hypervisor does not answer.", detail=detail, retryable=True)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return DriverError("no_such_guest", "The host does not know this guest.", detail=detail)
    if code in (libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_AGENT_UNRESPONSIVE):
        return DriverError("unavailable", "The hypervisor is busy with this guest.", detail=detail, retryable=True)
    lowered = detail.lower()
    for words, name, message, retryable in _WORDS:
        if words in lowered:
            return DriverError(name, message, detail=detail, retryable=retryable)
    return DriverError("driver", "The hypervisor refused.", detail=detail)
