"""The service catalog: regions, services and endpoints, and what of it a token shows."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilonova.cloud.identity import catalog_store, limit_store
from kilonova.cloud.identity.catalog_store import Entry, Noun
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.model import Endpoint
from kilonova.core.errors import Conflict, Forbidden, Invalid, NotFound
from kilonova.core.ids import new_hex
from kilonova.kit.db import Database, Tx

INTERFACES: Final = ("public", "internal", "admin")
_SPACE: Final = uuid.UUID("9f4b4d5e-52e8-4d2c-8b52-1f5a3ad2a3c1")
_SUBSTITUTE: Final = re.compile(r"[$%]\(([a-z_]+)\)s")


def entry_id(*parts: str) -> str:
    """The same id for the same thing of the cloud's own, in every process and after every start."""
    return uuid.uuid5(_SPACE, "/".join(parts)).hex


@dataclass(frozen=True, slots=True)
class Listing:
    """A service that is enabled, with its endpoints that are."""

    service: Entry
    endpoints: tuple[Entry, ...]


class CatalogService:
    """Commands and queries on the catalog."""

    def __init__(self, db: Database, epochs: Epochs, *, new_id: Callable[[], str] = new_hex) -> None:
        self._db = db
        self._epochs = epochs
        self._new_id = new_id
        self._listed: tuple[int, list[Listing]] | None = None

    async def found(self, endpoints: Sequence[Endpoint], region: str) -> None:
        """Make what is missing of the cloud's own services, each with its three endpoints. What an operator changed or
        removed stays so, but for the region of endpoints that lie on the cloud's own listener: it follows `region`."""
        await self._db.write(lambda tx: _found(tx, endpoints, region))

    async def listings(self) -> list[Listing]:
        """What tokens show: remembered while nothing of identity changes, where this process is the only one."""
        generation = self._epochs.generation
        if self._epochs.sole and self._listed is not None and self._listed[0] == generation:
            return self._listed[1]
        found = await self._db.read(_listings)
        self._listed = (generation, found)
        return found

    async def show(self, noun: Noun, identifier: str) -> Entry:
        """One. Raises NotFound."""
        return await self._db.read(lambda tx: catalog_store.get(tx, noun, identifier))

    async def list(self, noun: Noun, where: Mapping[str, Any]) -> Sequence[Entry]:
        """Those whose fields equal `where`."""
        return await self._db.read(lambda tx: catalog_store.list_entries(tx, noun, where))

    async def create(self, noun: Noun, values: Mapping[str, Any]) -> Entry:
        """A new one; an `id` may be given. Raises Conflict when that is taken, Invalid when what it names does not
        exist."""
        row = {**values, "id": values.get("id") or self._new_id()}

        def work(tx: Tx) -> Entry:
            _check_links(tx, row)
            if not catalog_store.create(tx, noun, row):
                raise Conflict(f"Conflict occurred attempting to store {noun} - Duplicate ID, {row['id']}.")
            self._epochs.touch(tx)
            return catalog_store.get(tx, noun, row["id"])

        return await self._db.write(work)

    async def change(self, noun: Noun, identifier: str, values: Mapping[str, Any]) -> Entry:
        """Set fields of one. Raises NotFound, Invalid when what it names does not exist, or a region would be its own
        ancestor."""

        def work(tx: Tx) -> Entry:
            before = catalog_store.get(tx, noun, identifier)
            _check_links(tx, values)
            if values.get("parent_region_id"):
                _check_no_ring(tx, identifier, values["parent_region_id"])
            row = dict(values)
            if "extra" in row:
                row["extra"] = {**before.extra, **row["extra"]}
            catalog_store.change(tx, noun, identifier, row)
            self._epochs.touch(tx)
            return catalog_store.get(tx, noun, identifier)

        return await self._db.write(work)

    async def delete(self, noun: Noun, identifier: str) -> None:
        """Remove one; a service with endpoints and limits. Raises NotFound; Forbidden for a region with children."""

        def work(tx: Tx) -> None:
            if noun == "region" and catalog_store.list_entries(tx, noun, {"parent_region_id": identifier}):
                raise Forbidden(
                    f"Unable to delete region {identifier} because it or its child regions have associated endpoints."
                )
            if noun == "region" and catalog_store.list_entries(tx, "endpoint", {"region_id": identifier}):
                raise Forbidden(
                    f"Unable to delete region {identifier} because it or its child regions have associated endpoints."
                )
            catalog_store.remove(tx, noun, identifier)
            if noun == "service":
                for endpoint in catalog_store.list_entries(tx, "endpoint", {"service_id": identifier}):
                    catalog_store.remove(tx, "endpoint", endpoint.id)
                limit_store.remove_of_service(tx, identifier)
            self._epochs.touch(tx)

        await self._db.write(work)


def url_of(endpoint: Entry, base_url: str, facts: Mapping[str, str | None]) -> str | None:
    """An endpoint's address for a caller: own ones on the listener at `base_url`, others with `$(project_id)s` and the
    like filled in; None when it names something that the caller has not."""
    url: str = endpoint.fields["url"]
    if url.startswith("/"):
        url = base_url + url
    names = set(_SUBSTITUTE.findall(url))
    if any(not facts.get(name) for name in names):
        return None
    return _SUBSTITUTE.sub(lambda found: str(facts[found[1]]), url)


def check_url(url: str) -> None:
    """Raises Invalid unless every `$(name)s` in an address is one that is filled in."""
    known = {"tenant_id", "project_id", "user_id"}
    if set(_SUBSTITUTE.findall(url)) - known or "$(" in _SUBSTITUTE.sub("", url) or "%(" in _SUBSTITUTE.sub("", url):
        raise Invalid(f"Invalid endpoint URL ({url[:255]}), see ERROR log for details.")


def _listings(tx: Tx) -> list[Listing]:
    by_service: dict[str, list[Entry]] = {}
    for endpoint in catalog_store.list_entries(tx, "endpoint", {"enabled": True}):
        by_service.setdefault(endpoint.fields["service_id"], []).append(endpoint)
    services = catalog_store.list_entries(tx, "service", {"enabled": True})
    return [Listing(one, tuple(by_service.get(one.id, ()))) for one in services]


def _found(tx: Tx, endpoints: Sequence[Endpoint], region: str) -> None:
    catalog_store.create(tx, "region", {"id": region})
    for own in endpoints:
        service_id = entry_id(own.service_type)
        if catalog_store.was_removed(tx, "service", service_id):
            continue
        service = {"id": service_id, "type": own.service_type, "name": own.service_name, "description": ""}
        catalog_store.create(tx, "service", service)
        for interface in INTERFACES:
            endpoint_id = entry_id(own.service_type, "own", interface)
            if catalog_store.was_removed(tx, "endpoint", endpoint_id):
                continue
            values = {"service_id": service_id, "region_id": region, "interface": interface, "url": own.path}
            if catalog_store.create(tx, "endpoint", {"id": endpoint_id, **values}):
                continue
            present = catalog_store.get(tx, "endpoint", endpoint_id).fields
            if present["url"].startswith("/") and (present["url"], present["region_id"]) != (own.path, region):
                catalog_store.change(tx, "endpoint", endpoint_id, {"url": own.path, "region_id": region})


def _check_links(tx: Tx, row: Mapping[str, Any]) -> None:
    links: tuple[tuple[str, Noun], ...] = (
        ("parent_region_id", "region"),
        ("region_id", "region"),
        ("service_id", "service"),
    )
    for key, noun in links:
        if row.get(key) and catalog_store.find(tx, noun, row[key]) is None:
            failure = NotFound if key == "parent_region_id" else Invalid
            raise failure(f"Could not find {noun}: {row[key]}.")


def _check_no_ring(tx: Tx, identifier: str, parent_id: str) -> None:
    seen = {identifier}
    above: str | None = parent_id
    while above:
        if above in seen:
            raise Invalid("Circular reference found in the region hierarchy.")
        seen.add(above)
        found = catalog_store.find(tx, "region", above)
        above = None if found is None else found.fields["parent_region_id"]
