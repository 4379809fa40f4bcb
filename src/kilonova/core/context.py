"""Who asks, and what they may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kilonova.core.access import AccessRule


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows a query may touch: one project's, or all. Every store function takes one."""

    project_id: str | None

    @property
    def is_all(self) -> bool:
        return self.project_id is None


ALL: Final = Scope(None)


@dataclass(frozen=True, slots=True)
class Context:
    """The authenticated caller of one request, or an operation acting for one."""

    user_id: str
    project_id: str | None
    roles: frozenset[str]
    request_id: str
    user_name: str = ""
    user_domain_id: str = ""
    project_name: str = ""
    project_domain_id: str = ""
    domain_id: str | None = None
    system: bool = False
    is_admin: bool = False
    """Administers the whole cloud: has `admin` on a project or on the system, not on a domain."""
    expires_at: int = 0
    restricted: bool = False
    """Asks by an application credential that may not make others like it."""
    delegated: bool = False
    """Asks by a trust, an application credential or an access key: with part of a user's rights."""
    by_application: bool = False
    """Asks by an application credential."""
    trust_id: str = ""
    access_rules: tuple[AccessRule, ...] | None = None
    """The only requests that this caller may make; None allows all."""

    @property
    def scope(self) -> Scope:
        """The project that the caller is scoped to; a caller without one owns nothing."""
        return Scope(self.project_id or "")
