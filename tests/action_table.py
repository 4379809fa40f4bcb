"""docs/actions.md: what can happen to a server, and where it was seen to. Run it to write the page.

With a folder of traffic (KILONOVA_TRAFFIC of a run) it first sums up the crash cases that lie there in docs/evidence.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import traffic

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "actions.md"
CRASHES = ROOT / "docs" / "evidence" / "crash.json"
ACT = "POST /v2.1/servers/{server_id}/action "
NIC = "/v2.1/servers/{server_id}/os-interface"
ACTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "create": ("POST /v2.1/servers", ("create",)),
    "delete": ("DELETE /v2.1/servers/{server_id}", ("delete", "soft delete")),
    "start": (f"{ACT}(os-start)", ("start",)),
    "stop": (f"{ACT}(os-stop)", ("stop",)),
    "reboot": (f"{ACT}(reboot)", ("reboot", "reset")),
    "pause": (f"{ACT}(pause)", ("pause",)),
    "unpause": (f"{ACT}(unpause)", ("unpause",)),
    "suspend": (f"{ACT}(suspend)", ("suspend",)),
    "resume": (f"{ACT}(resume)", ("resume",)),
    "lock": (f"{ACT}(lock)", ()),
    "unlock": (f"{ACT}(unlock)", ()),
    "rescue": (f"{ACT}(rescue)", ("rescue",)),
    "unrescue": (f"{ACT}(unrescue)", ("unrescue",)),
    "rebuild": (f"{ACT}(rebuild)", ("rebuild",)),
    "resize": (f"{ACT}(resize)", ("resize",)),
    "migrate": (f"{ACT}(migrate)", ("migrate",)),
    "confirmResize": (f"{ACT}(confirmResize)", ("confirm", "confirm there")),
    "revertResize": (f"{ACT}(revertResize)", ("revert", "revert there")),
    "os-migrateLive": (f"{ACT}(os-migrateLive)", ("live migrate",)),
    "evacuate": (f"{ACT}(evacuate)", ("evacuate",)),
    "shelve": (f"{ACT}(shelve)", ("shelve",)),
    "unshelve": (f"{ACT}(unshelve)", ("unshelve",)),
    "createImage": (f"{ACT}(createImage)", ("image",)),
    "createBackup": (f"{ACT}(createBackup)", ("backup",)),
    "restore": (f"{ACT}(restore)", ("restore",)),
    "forceDelete": (f"{ACT}(forceDelete)", ("delete",)),
    "os-resetState": (f"{ACT}(os-resetState)", ()),
    "attach interface": (f"POST {NIC}", ("attach",)),
    "detach interface": (f"DELETE {NIC}/{{port_id}}", ("detach",)),
    "addSecurityGroup": (f"{ACT}(addSecurityGroup)", ()),
    "removeSecurityGroup": (f"{ACT}(removeSecurityGroup)", ()),
    "addFixedIp": (f"{ACT}(addFixedIp)", ()),
    "removeFixedIp": (f"{ACT}(removeFixedIp)", ()),
    "addFloatingIp": (f"{ACT}(addFloatingIp)", ()),
    "removeFloatingIp": (f"{ACT}(removeFloatingIp)", ()),
    "console output": (f"{ACT}(os-getConsoleOutput)", ()),
    "remote console": ("POST /v2.1/servers/{server_id}/remote-consoles", ()),
    "changePassword": (f"{ACT}(changePassword)", ()),
    "trigger_crash_dump": (f"{ACT}(trigger_crash_dump)", ()),
    "diagnostics": ("GET /v2.1/servers/{server_id}/diagnostics", ()),
    "metadata": ("POST /v2.1/servers/{server_id}/metadata", ()),
    "tags": ("PUT /v2.1/servers/{server_id}/tags", ()),
}
"""Each action: its operation in the traffic, and the crash suite's scenarios of it."""
HEAD = """# What can happen to a server

Made by `python tests/action_table.py` from what ran: the traffic of the suites and the cases of the crash suite
([evidence](evidence)). A test holds this page against that.

*done*: a success was seen; *refused*: a refusal was seen. *crash cases*: how often its flow was run to its end with a
fault at one of its steps or calls (killed workers and hosts, lost messages, failures, deletes in between), on SQLite
and PostgreSQL. Without a number there is no flow: it is one transaction, or one question to a guest. On QEMU, live
migration is tried between two libvirtds in `tests/vm/test_two_hosts.py`, beside the API's traffic.

| action | simulated hosts | QEMU | crash cases |
|---|---|---|---|
"""


def render() -> str:
    """The page."""
    document = json.loads(traffic.FILE.read_text())
    real = document.get("vm", {}).get("compute", {})
    fake = traffic.merge(seen for name, seen in document.items() if name != "vm").get("compute", {})
    crashes = json.loads(CRASHES.read_text()) if CRASHES.exists() else {}
    rows = []
    for action, (operation, scenarios) in ACTIONS.items():
        cases = sum(crashes.get(name, 0) for name in scenarios)
        rows.append(f"| {action} | {_words(fake, operation)} | {_words(real, operation)} | {cases or ''} |")
    return HEAD + "\n".join(rows) + "\n"


def _words(seen: dict[str, str], operation: str) -> str:
    letters = seen.get(operation, "")
    return ", ".join(word for letter, word in (("s", "done"), ("r", "refused")) if letter in letters)


def main() -> None:
    if len(sys.argv) > 1:
        found: Counter[str] = Counter()
        for part in Path(sys.argv[1]).glob("crash-*.json"):
            found.update(json.loads(part.read_text()))
        CRASHES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    FILE.write_text(render())


if __name__ == "__main__":
    main()
