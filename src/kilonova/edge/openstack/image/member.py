"""Members of images (API reference "Sharing")."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.image.member import ImageMembers
from kilonova.cloud.image.model import MEMBER_STATUSES, Member
from kilonova.edge.openstack.image.view import moment
from kilonova.kit.http import Request, Route

_CREATE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"member": {"type": "string", "minLength": 1, "maxLength": 255}},
    "required": ["member"],
}
_UPDATE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"status": {"enum": list(MEMBER_STATUSES)}},
    "required": ["status"],
}


class MemberEdge:
    """Handlers of `/v2/images/{image_id}/members`."""

    def __init__(self, members: ImageMembers) -> None:
        self._members = members

    def routes(self) -> list[Route]:
        every, one = "/v2/images/{image_id}/members", "/v2/images/{image_id}/members/{member_id}"
        return [
            Route("POST", every, self.create, "add_member", schema=_CREATE),
            Route("GET", every, self.list, "get_members"),
            Route("GET", one, self.show, "get_member"),
            Route("PUT", one, self.update, "modify_member", schema=_UPDATE),
            Route("DELETE", one, self.delete, "delete_member", success=204),
        ]

    async def create(self, request: Request) -> dict[str, Any]:
        return _view(await self._members.add(request.context, request.params["image_id"], request.json["member"]))

    async def list(self, request: Request) -> dict[str, Any]:
        members = await self._members.list(request.context, request.params["image_id"])
        return {"members": [_view(member) for member in members], "schema": "/v2/schemas/members"}

    async def show(self, request: Request) -> dict[str, Any]:
        image_id, member_id = request.params["image_id"], request.params["member_id"]
        return _view(await self._members.get(request.context, image_id, member_id))

    async def update(self, request: Request) -> dict[str, Any]:
        image_id, member_id = request.params["image_id"], request.params["member_id"]
        return _view(await self._members.answer(request.context, image_id, member_id, request.json["status"]))

    async def delete(self, request: Request) -> None:
        await self._members.remove(request.context, request.params["image_id"], request.params["member_id"])


def _view(member: Member) -> dict[str, Any]:
    return {
        "member_id": member.member_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": moment(member.created_at),
        "updated_at": moment(member.updated_at),
        "schema": "/v2/schemas/member",
    }
