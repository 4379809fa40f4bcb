"""The host's switches: forwarding, which kilonova turns on and off again, and br_netfilter. Everything here blocks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net import nft
from kilonova.node.driver.net.link import write_setting

IPV4: Final = "ipv4/ip_forward"
LOAD_DEADLINE: Final = 20.0
IPV6: Final = "ipv6/conf/all/forwarding"
CLOUD_TABLE: Final = re.compile(r"^kn_[0-9a-f]{6}$")


class Forwarding:
    """`note` is a file that all clouds of this host share and that a reboot empties, as it does the switches."""

    def __init__(self, note: Path) -> None:
        self._note = note

    def ensure(self, setting: str) -> None:
        """Turn a switch on; remember it if it was off."""
        if Path("/proc/sys/net", setting).read_text().strip() != "0":
            return
        self._note.parent.mkdir(parents=True, exist_ok=True)
        with self._note.open("a") as file:
            file.write(setting + "\n")
        write_setting(setting, "1")

    def release(self, table: str) -> None:
        """Turn off what was turned on, unless a cloud with another nftables table is still here."""
        if any(CLOUD_TABLE.match(name) and name != table for name in nft.list_tables("inet")):
            return
        if not self._note.exists():
            return
        for setting in sorted(set(self._note.read_text().split()) & {IPV4, IPV6}):
            write_setting(setting, "0")
        self._note.unlink()


def load_bridge_filter() -> None:
    """Have br_netfilter, by which a bridge shows its packets to conntrack. Raises DriverError without it.

    The module begins by doing so for every bridge of the host; ours ask for it themselves, so that is turned off if it
    was us who loaded it.
    """
    settings = Path("/proc/sys/net/bridge")
    if settings.exists():
        return
    try:
        done = subprocess.run(["modprobe", "br_netfilter"], capture_output=True, timeout=LOAD_DEADLINE, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise DriverError("driver", "security groups need the kernel module br_netfilter: modprobe it") from error
    if done.returncode != 0 or not settings.exists():
        detail = done.stderr.decode(errors="replace")
        raise DriverError("driver", "security groups need the kernel module br_netfilter", detail=detail)
    for family in ("iptables", "ip6tables", "arptables"):
        write_setting(f"bridge/bridge-nf-call-{family}", "0")
