"""Who belongs to which group."""

from __future__ import annotations

from typing import Final

from kilonova.cloud.identity.service import Directory
from kilonova.edge.openstack.identity import schema
from kilonova.edge.openstack.identity.directory import check_managed
from kilonova.edge.openstack.identity.listing import Listing, read_filters
from kilonova.edge.openstack.identity.target import Targets
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_MEMBER: Final = "/groups/{group_id}/users/{user_id}"


class MemberRoutes:
    """Memberships; the groups themselves are rows as others."""

    def __init__(self, directory: Directory) -> None:
        self._groups = directory.groups
        self._rights = directory.rights
        self._targets = Targets(directory)

    def routes(self) -> list[Route]:
        named = self._targets.of_path
        users, groups = "/groups/{group_id}/users", "/users/{user_id}/groups"
        put, gone = "identity:add_user_to_group", "identity:remove_user_from_group"
        return [
            Route("GET", users, self.list_users, "identity:list_users_in_group", query=schema.LIST, target=named),
            Route("GET", groups, self.list_groups, "identity:list_groups_for_user", query=schema.LIST, target=named),
            Route("PUT", _MEMBER, self.add, put, success=204, body="none", target=named),
            Route("GET", _MEMBER, self.check, "identity:check_user_in_group", success=204, target=named),
            Route("DELETE", _MEMBER, self.remove, gone, success=204, target=named),
        ]

    async def list_users(self, request: Request) -> Answer:
        page = Listing(request)
        where = read_filters("user", request)
        rows = await self._groups.users(request.params["group_id"], where, marker=page.marker, limit=page.limit)
        return page.answer("users", "user", rows)

    async def list_groups(self, request: Request) -> Answer:
        page = Listing(request)
        where = read_filters("group", request)
        rows = await self._groups.groups_of(request.params["user_id"], where, marker=page.marker, limit=page.limit)
        return page.answer("groups", "group", rows)

    async def add(self, request: Request) -> Answer:
        await check_managed(request, self._rights, request.params["group_id"])
        await self._groups.add(request.params["group_id"], request.params["user_id"])
        return None

    async def check(self, request: Request) -> Answer:
        await self._groups.check(request.params["group_id"], request.params["user_id"])
        return None

    async def remove(self, request: Request) -> Answer:
        await check_managed(request, self._rights, request.params["group_id"])
        await self._groups.leave(request.params["group_id"], request.params["user_id"])
        return None
