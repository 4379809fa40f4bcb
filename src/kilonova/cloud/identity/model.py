"""Domains, projects, users, roles, and the tokens that they lead to. Times are µs since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kilonova.core.access import AccessRule

DEFAULT_DOMAIN: Final = "default"
ROLES: Final = ("reader", "member", "manager", "admin", "service")
IMPLICATIONS: Final = (("admin", "manager"), ("manager", "member"), ("member", "reader"))
SYSTEM: Final = "all"

ScopeKind = Literal["unscoped", "project", "domain", "system"]
Kind = Literal["domain", "project", "user", "group", "role"]
ActorKind = Literal["user", "group"]


@dataclass(frozen=True, slots=True)
class Domain:
    """A namespace of users and projects."""

    id: str
    name: str
    description: str = ""
    enabled: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    valid_after: int = 0
    """Tokens that name this and were issued until then do not count."""
    options: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """What owns resources. `parent_id` is the domain's id where no project is above; `tags` are there where a reader
    asked for them."""

    id: str
    name: str
    domain_id: str
    description: str = ""
    enabled: bool = True
    parent_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    valid_after: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. The password's hash never leaves the store."""

    id: str
    name: str
    domain_id: str
    enabled: bool = True
    default_project_id: str | None = None
    password_expires_at: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    valid_after: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    failures: int = 0
    """Wrong passwords in a row, the last one at `failed_at`."""
    failed_at: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Users who have rights together."""

    id: str
    name: str
    domain_id: str
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Role:
    """A name that policy rules speak of; `domain_id` is None for a role of the whole cloud. A domain's role never
    stands in a token: it counts by what it implies."""

    id: str
    name: str
    domain_id: str | None = None
    description: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A user's or group's role on a project, a domain or the system; an `inherited` one holds for all projects below
    the project or in the domain, and not for that itself (OS-INHERIT)."""

    actor_id: str
    target_kind: ScopeKind
    target_id: str
    role_id: str
    actor_kind: ActorKind = "user"
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Effective:
    """A role that a user really has somewhere, and the assignment that it comes from; `prior_id` is the role that
    implied it."""

    user_id: str
    target_kind: ScopeKind
    target_id: str
    role_id: str
    source: Assignment
    prior_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sought:
    """Which assignments a list is about; None leaves a field open. `subtree`: also the projects below the target.
    `domain_id`: only targets in this domain."""

    actor_kind: ActorKind | None = None
    actor_id: str | None = None
    role_id: str | None = None
    target_kind: ScopeKind | None = None
    target_id: str | None = None
    inherited: bool | None = None
    subtree: bool = False
    domain_id: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A reference by id, or by name within a domain that is itself given by id or name."""

    id: str | None = None
    name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """The scope that a login asks for; None of `kind` leaves it to the user's default project."""

    kind: ScopeKind | None = None
    target: Named = Named()
    trust_id: str = ""
    """Asks for what this trust delegates, and for nothing else."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token says by itself."""

    user_id: str
    kind: ScopeKind
    target_id: str
    methods: tuple[str, ...]
    issued_at: int
    expires_at: int
    audit_ids: tuple[str, ...]
    trust_id: str = ""
    credential_id: str = ""
    """The application credential that it was got with."""

    @property
    def project_id(self) -> str | None:
        return self.target_id if self.kind == "project" else None


@dataclass(frozen=True, slots=True)
class ApplicationCredential:
    """A secret of its own for a program, with some of its user's roles on one project. The secret's hash never leaves
    the store. `access_rules` are ids; None allows every request."""

    id: str
    name: str
    user_id: str
    project_id: str
    roles: tuple[str, ...]
    description: str = ""
    expires_at: int | None = None
    unrestricted: bool = False
    access_rules: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Trust:
    """What one user (the trustor) lets another (the trustee) do on a project, as oneself or in the trustor's name."""

    id: str
    trustor_user_id: str
    trustee_user_id: str
    project_id: str | None
    roles: tuple[str, ...]
    impersonation: bool
    expires_at: int | None = None
    remaining_uses: int | None = None

    def other(self, user_id: str) -> str:
        """The one of the two who is not `user_id`."""
        return self.trustee_user_id if user_id == self.trustor_user_id else self.trustor_user_id


@dataclass(frozen=True, slots=True)
class Session:
    """A ticket and what it means now: the user, the scope and the effective roles."""

    ticket: Ticket
    user: User
    user_domain: Domain
    roles: tuple[Role, ...]
    project: Project | None = None
    domain: Domain | None = None
    """The domain of the project, or the domain that the ticket is scoped to."""
    trust: Trust | None = None
    credential: ApplicationCredential | None = None
    access_rules: tuple[AccessRule, ...] | None = None

    @property
    def is_delegated(self) -> bool:
        """Whether this is part of a user's rights, got by something other than the user's own password."""
        return self.credential is not None or self.trust is not None or "ec2credential" in self.ticket.methods


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One service as the catalog shows it: `path` is appended to the listener's address."""

    service_type: str
    service_name: str
    path: str
