"""Commands and queries on unified limits. The model is flat: a project's limit stands for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kilonova.cloud.identity import catalog_store, limit_store, store
from kilonova.cloud.identity.limit_store import Limit, RegisteredLimit
from kilonova.core.errors import Invalid, NotFound
from kilonova.core.ids import new_hex
from kilonova.kit.db import Database, Tx


class Limits:
    """Registered limits and the limits that projects and domains have instead."""

    def __init__(self, db: Database, *, new_id: Callable[[], str] = new_hex) -> None:
        self._db = db
        self._new_id = new_id

    async def register(self, given: Sequence[Mapping[str, Any]]) -> Sequence[RegisteredLimit]:
        """New registered limits, all or none. Raises Conflict, Invalid for a service or region that does not exist."""

        def work(tx: Tx) -> Sequence[RegisteredLimit]:
            made = []
            for values in given:
                _check_place(tx, values)
                row = {"region_id": None, "description": None, **values, "id": self._new_id()}
                limit_store.create_registered(tx, row)
                made.append(limit_store.get_registered(tx, row["id"]))
            return made

        return await self._db.write(work)

    async def create(self, given: Sequence[Mapping[str, Any]]) -> Sequence[Limit]:
        """New limits, all or none. Raises Conflict, Forbidden for a resource that is not registered, Invalid for a
        project, domain, service or region that does not exist."""

        def work(tx: Tx) -> Sequence[Limit]:
            made = []
            for values in given:
                _check_place(tx, values)
                empty = dict.fromkeys(("region_id", "description", "project_id", "domain_id"))
                row = {**empty, **values, "id": self._new_id()}
                limit_store.create_limit(tx, row)
                made.append(limit_store.get_limit(tx, row["id"]))
            return made

        return await self._db.write(work)

    async def list_registered(self, where: Mapping[str, str | None]) -> Sequence[RegisteredLimit]:
        """Those whose fields equal `where`."""
        return await self._db.read(lambda tx: limit_store.list_registered(tx, where))

    async def list(self, where: Mapping[str, str | None]) -> Sequence[Limit]:
        """Those whose fields equal `where`."""
        return await self._db.read(lambda tx: limit_store.list_limits(tx, where))

    async def list_in_domain(self, domain_id: str, where: Mapping[str, str | None]) -> Sequence[Limit]:
        """Those of a domain and of its projects."""

        def work(tx: Tx) -> Sequence[Limit]:
            inside = {one.id for one in store.list_all(tx, "project", {"domain_id": domain_id})}
            found = limit_store.list_limits(tx, where)
            return [one for one in found if one.domain_id == domain_id or one.project_id in inside]

        return await self._db.read(work)

    async def show_registered(self, identifier: str) -> RegisteredLimit:
        """One. Raises NotFound."""
        return await self._db.read(lambda tx: limit_store.get_registered(tx, identifier))

    async def show(self, identifier: str) -> tuple[Limit, str | None]:
        """One, and the domain of its project. Raises NotFound."""

        def work(tx: Tx) -> tuple[Limit, str | None]:
            one = limit_store.get_limit(tx, identifier)
            if one.project_id is None:
                return one, None
            return one, store.get(tx, "project", one.project_id).domain_id

        return await self._db.read(work)

    async def change_registered(self, identifier: str, values: Mapping[str, Any]) -> RegisteredLimit:
        """Set fields of one. Raises NotFound, Conflict, Forbidden, Invalid."""

        def work(tx: Tx) -> RegisteredLimit:
            _check_place(tx, values)
            limit_store.change_registered(tx, identifier, values)
            return limit_store.get_registered(tx, identifier)

        return await self._db.write(work)

    async def change(self, identifier: str, values: Mapping[str, Any]) -> Limit:
        """Set fields of one. Raises NotFound."""

        def work(tx: Tx) -> Limit:
            limit_store.change_limit(tx, identifier, values)
            return limit_store.get_limit(tx, identifier)

        return await self._db.write(work)

    async def delete_registered(self, identifier: str) -> None:
        """Remove one. Raises NotFound, Forbidden while limits rest on it."""
        await self._db.write(lambda tx: limit_store.remove_registered(tx, identifier))

    async def delete(self, identifier: str) -> None:
        """Remove one. Raises NotFound."""
        await self._db.write(lambda tx: limit_store.remove_limit(tx, identifier))


def _check_place(tx: Tx, values: Mapping[str, Any]) -> None:
    for key, noun in (("service_id", "service"), ("region_id", "region")):
        if (
            values.get(key)
            and catalog_store.find(tx, "service" if noun == "service" else "region", values[key]) is None
        ):
            raise Invalid(f"Could not find {noun}: {values[key]}.")
    try:
        if values.get("project_id"):
            store.get(tx, "project", values["project_id"])
        if values.get("domain_id"):
            store.get(tx, "domain", values["domain_id"])
    except NotFound as failure:
        raise Invalid(failure.message) from None
