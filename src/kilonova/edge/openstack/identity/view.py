"""Identity's rows as Identity API v3 shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kilonova.cloud.identity.model import Assignment, Domain, Project, Role, Session, User


def moment(micros: int) -> str:
    """`2026-01-31T12:00:00.000000Z`."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def domain(row: Domain, root: str) -> dict[str, Any]:
    return {
        "tags": [],
        "options": {},
        **row.extra,
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "links": {"self": f"{root}/domains/{row.id}"},
    }


def project(row: Project, root: str) -> dict[str, Any]:
    return {
        "tags": [],
        "options": {},
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description,
        "enabled": row.enabled,
        "parent_id": row.parent_id or row.domain_id,
        "is_domain": False,
        "links": {"self": f"{root}/projects/{row.id}"},
    }


def user(row: User, root: str) -> dict[str, Any]:
    shown = {
        "options": {},
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "enabled": row.enabled,
        "password_expires_at": None if row.password_expires_at is None else moment(row.password_expires_at),
        "links": {"self": f"{root}/users/{row.id}"},
    }
    if row.default_project_id:
        shown["default_project_id"] = row.default_project_id
    return shown


def role(row: Role, root: str) -> dict[str, Any]:
    return {
        "options": {},
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description,
        "links": {"self": f"{root}/roles/{row.id}"},
    }


VIEWS: dict[str, Any] = {"domain": domain, "project": project, "user": user, "role": role}


def collection(name: str, rows: list[dict[str, Any]], address: str) -> dict[str, Any]:
    """A list with its links."""
    return {name: rows, "links": {"next": None, "self": address, "previous": None}}


def token(session: Session, catalog: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The body of a token; the token itself travels in a header."""
    ticket = session.ticket
    shown: dict[str, Any] = {
        "methods": list(ticket.methods),
        "user": {
            "id": session.user.id,
            "name": session.user.name,
            "domain": _named(session.user_domain),
            "password_expires_at": None
            if session.user.password_expires_at is None
            else moment(session.user.password_expires_at),
        },
        "audit_ids": list(ticket.audit_ids),
        "issued_at": moment(ticket.issued_at),
        "expires_at": moment(ticket.expires_at),
    }
    if ticket.kind == "unscoped":
        return {"token": shown}
    if session.project is not None and session.domain is not None:
        place = {"id": session.project.id, "name": session.project.name, "domain": _named(session.domain)}
        shown |= {"project": place, "is_domain": False}
    elif session.domain is not None:
        shown["domain"] = _named(session.domain)
    else:
        shown["system"] = {"all": True}
    shown["roles"] = [{"id": one.id, "name": one.name} for one in session.roles]
    if catalog is not None:
        shown["catalog"] = catalog
    return {"token": shown}


def assignment(row: Assignment, root: str, names: dict[str, dict[str, Any]] | None) -> dict[str, Any]:
    """One assignment; with `names` (rows by kind and id) names beside the ids."""
    target: dict[str, Any] = {"id": row.target_id}
    shown: dict[str, Any] = {"role": {"id": row.role_id}, "user": {"id": row.user_id}}
    if row.target_kind == "system":
        shown["scope"] = {"system": {"all": True}}
        path = f"system/users/{row.user_id}/roles/{row.role_id}"
    else:
        shown["scope"] = {row.target_kind: target}
        path = f"{row.target_kind}s/{row.target_id}/users/{row.user_id}/roles/{row.role_id}"
    shown["links"] = {"assignment": f"{root}/{path}"}
    if names is None:
        return shown
    for kind, part in (("role", shown["role"]), ("user", shown["user"]), (row.target_kind, target)):
        named = names.get(kind, {}).get(part["id"])
        if named is None:
            continue
        part["name"] = named.name
        home = names["domain"].get(getattr(named, "domain_id", None) or "")
        if home is not None:
            part["domain"] = _named(home)
    return shown


def _named(row: Domain) -> dict[str, str]:
    return {"id": row.id, "name": row.name}
