"""What identity's policy rules are asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kilonova.cloud.identity.model import Kind
from kilonova.cloud.identity.service import Directory
from kilonova.kit.http import Request

Target = Mapping[str, str | None]
_KINDS: Final[tuple[Kind, ...]] = ("domain", "project", "user", "group", "role")


class Targets:
    """Policy targets: `target.user.domain_id` and the like, of what the path names. What does not exist has no domain,
    so that only those hear of its absence who may see every domain."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def of_path(self, request: Request) -> Target:
        """The rows that the path names."""
        params = request.params
        ids: dict[Kind, str] = {kind: params[f"{kind}_id"] for kind in _KINDS if f"{kind}_id" in params}
        found: dict[str, str | None] = {}
        for kind, row in (await self._directory.rows(ids)).items():
            found[f"target.{kind}.id"] = row.id
            if kind == "role":
                found |= {"target.role.name": row.name, "target.role.domain_id": row.domain_id}
            elif kind != "domain":
                found[f"target.{kind}.domain_id"] = row.domain_id
        return found

    async def of_home(self, request: Request) -> Target:
        """The domain of the caller's token, where it is for one: that is where new things go and what lists show."""
        return in_domain(request.context.domain_id)


def in_domain(domain_id: str | None) -> dict[str, str | None]:
    """Anything in a domain."""
    if domain_id is None:
        return {}
    return {
        "target.domain_id": domain_id,
        "target.domain.id": domain_id,
        **{f"target.{kind}.domain_id": domain_id for kind in ("project", "user", "group")},
    }
