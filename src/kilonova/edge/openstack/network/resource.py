"""The five operations that every resource of this API has, made from its attributes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from kilonova.cloud.network.model import Listing
from kilonova.core.context import Context
from kilonova.core.errors import Forbidden, NotBuilt, NotFound
from kilonova.edge.openstack.network.attribute import Attribute, body_schema, bulk_schema, read_values
from kilonova.edge.openstack.network.listing import links, pick, read_listing
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

Values = dict[str, Any]


class Commands(Protocol):
    """What a resource's service can do."""

    async def find(self, context: Context, listing: Listing) -> Sequence[Any]: ...

    async def get(self, context: Context, identifier: str) -> Any: ...

    async def update(self, context: Context, identifier: str, values: Mapping[str, Any]) -> Any: ...

    async def delete(self, context: Context, identifier: str) -> None: ...


class Resource:
    """List, show, create, update and delete of one kind.

    `create(request, values)` makes as many as there are values, in the domain's words: one, or with `bulk` several in
    one transaction. `view(row, request)` renders one. `allow(request, verb, values)`, where given, refuses members that
    need more rights than the operation itself. `collection`: where it is not the member's name with an s.
    """

    def __init__(
        self,
        member: str,
        attributes: Sequence[Attribute],
        commands: Commands,
        create: Callable[[Request, list[Values]], Awaitable[Sequence[Any]]],
        view: Callable[[Any, Request], Mapping[str, Any]],
        *,
        required: Sequence[str] = (),
        updatable: bool = True,
        bulk: bool = False,
        tagged: bool = False,
        collection: str = "",
        allow: Callable[[Request, str, Values], Awaitable[None]] | None = None,
    ) -> None:
        self._member, self._collection = member, collection or f"{member}s"
        self._attributes = attributes
        self._commands = commands
        self._create = create
        self._view = view
        self._required = required
        self._updatable = updatable
        self._bulk, self._tagged = bulk, tagged
        self._allow = allow

    def routes(self) -> list[Route]:
        """The routes under `/v2.0`."""
        member, path = self._member, f"/{self._collection.replace('_', '-')}"
        one = f"{path}/{{id}}"
        making = body_schema(member, self._attributes, "c", self._required)
        if self._bulk:
            making = bulk_schema(making, member, self._collection)
        changing = body_schema(member, self._attributes, "u", ())
        routes = [
            Route("GET", path, self.list, f"get_{member}"),
            Route("POST", path, self.create, f"create_{member}", schema=making, success=201),
            Route("GET", one, self.show, f"get_{member}"),
            Route("DELETE", one, self.delete, f"delete_{member}", success=204),
        ]
        if self._updatable:
            routes.append(Route("PUT", one, self.update, f"update_{member}", schema=changing))
        return routes

    async def list(self, request: Request) -> Answer:
        listing = read_listing(request, self._attributes, tagged=self._tagged)
        rows = await self._commands.find(request.context, listing)
        shown = [pick(request, self._view(row, request)) for row in rows]
        return {self._collection: shown, **links(request, self._collection, listing, rows)}

    async def show(self, request: Request) -> Answer:
        row = await self._commands.get(request.context, request.params["id"])
        return {self._member: pick(request, self._view(row, request))}

    async def create(self, request: Request) -> Answer:
        is_one = self._member in request.json
        given = [request.json[self._member]] if is_one else request.json[self._collection]
        values = [read_values(one, self._attributes) for one in given]
        if self._allow is not None:
            for one in values:
                await self._allow(request, "create", one)
        shown = [self._view(row, request) for row in await self._create(request, values)]
        return {self._member: shown[0]} if is_one else {self._collection: shown}

    async def update(self, request: Request) -> Answer:
        if request.header("if-match") is not None:
            raise NotBuilt("Changes under the condition of a revision are not implemented")
        values = read_values(request.json[self._member], self._attributes)
        if self._allow is not None:
            await self._allow(request, "update", values)
        row = await self._commands.update(request.context, request.params["id"], values)
        return {self._member: self._view(row, request)}

    async def delete(self, request: Request) -> None:
        context, identifier = request.context, request.params["id"]
        try:
            await self._commands.delete(context, identifier)
        except NotFound as failure:
            # What is seen without being the caller's own is refused; clients take 404 for success here.
            await self._commands.get(context, identifier)
            rule = f"delete_{self._member}"
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule) from failure


def refuse_unless(request: Request, rule: str, **target: str | None) -> None:
    """Raises Forbidden unless policy lets the caller do `rule`."""
    if not request.permits(rule, **target):
        raise Forbidden(f"{rule} is disallowed by policy", rule=rule)
