"""Making a server's disk anew from an image; its addresses, place and size stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow.guest import document, script
from kilonova.cloud.flow.power import TurnFlow
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.demand import shape
from kilonova.cloud.server.model import Guest, KeyCopy, Server
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Tx
from kilonova.kit.ops import Run
from kilonova.wire.guest import ImageRef


class ServerRebuild(TurnFlow):
    """Frame: `values` (columns that change, the image always), `preserve_ephemeral`, `stopped` (it was, and will be).

    There is no way back from a disk that is gone: a failure leaves the server in error.
    """

    name: ClassVar[str] = "server_rebuild"
    event: ClassVar[str] = "compute__do_rebuild_instance"
    arrival: ClassVar[str] = "run"

    def arrive(self, frame: Mapping[str, Any]) -> str:
        return "halt" if frame["stopped"] else "run"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        changed = replace(server, **_columns(frame))
        return {
            "power": "stopped" if frame["stopped"] else "running",
            "boot_count": guest.spec.boot_count + 1,
            "generation": guest.spec.generation + 1,
            "preserve_ephemeral": frame["preserve_ephemeral"],
            "image": msgspec.convert(changed.image, ImageRef),
            **shape(changed.flavor, changed.image),
            "name": changed.name,
            "document": document(changed),
            "fake": script(changed),
        }

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        return {**_columns(run.frame), "launched_at": tx.now}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        if "halted" not in run.operation.done:
            super().failed(tx, run, failure)
            return
        server = store.lock(tx, ALL, run.subject_id)
        fault = guests.fault(failure, tx.now)
        store.move(tx, server, "fail", fault=fault, power="none", **_columns(run.frame))
        for guest in guest_store.of_server(tx, run.subject_id):
            guests.change(tx, self._nodes, guest, run.request_id, power="stopped")


def _columns(frame: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(frame["values"])
    if "key" in values:
        values["key"] = msgspec.convert(values["key"], KeyCopy | None)
    if "files" in values:
        values["files"] = tuple((path, data) for path, data in values["files"])
    return values
