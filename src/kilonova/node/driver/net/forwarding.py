"""The host's forwarding switches: which of them kilonova turned on, and turning those off again. All methods block."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from kilonova.node.driver.net import nft
from kilonova.node.driver.net.link import write_setting

IPV4: Final = "ipv4/ip_forward"
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
