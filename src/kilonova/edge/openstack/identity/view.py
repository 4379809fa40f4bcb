"""Identity's rows as Identity API v3 shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kilonova.cloud.identity.model import Assignment, Domain, Effective, Group, Project, Role, Session, User
from kilonova.edge.openstack.identity.moment import naive


def moment(micros: int) -> str:
    """`2026-01-31T12:00:00.000000Z`."""
    return f"{naive(micros)}Z"


def domain(row: Domain, root: str) -> dict[str, Any]:
    return {
        **row.extra,
        "tags": list(row.tags),
        "options": row.options,
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "links": {"self": f"{root}/domains/{row.id}"},
    }


def project(row: Project | Domain, root: str) -> dict[str, Any]:
    """A project; also a domain, which is one with neither parent nor domain."""
    home, parent = (None, None) if isinstance(row, Domain) else (row.domain_id, row.parent_id or row.domain_id)
    return {
        **row.extra,
        "tags": list(row.tags),
        "options": row.options,
        "id": row.id,
        "name": row.name,
        "domain_id": home,
        "description": row.description,
        "enabled": row.enabled,
        "parent_id": parent,
        "is_domain": home is None,
        "links": {"self": f"{root}/projects/{row.id}"},
    }


def line(row: Project | Domain, parents: Sequence[Project]) -> dict[str, Any] | None:
    """What is above a project by id, each inside the one below it, the domain innermost."""
    if isinstance(row, Domain):
        return None
    above: dict[str, Any] = {row.domain_id: None}
    for one in reversed(parents):
        above = {one.id: above}
    return above


def tree(root_id: str, below: Sequence[Project]) -> dict[str, Any] | None:
    """What is below a project by id, each inside its parent; None where nothing is."""
    children: dict[str, list[str]] = {}
    for one in below:
        children.setdefault(one.parent_id or one.domain_id, []).append(one.id)

    def inside(identifier: str) -> dict[str, Any] | None:
        return {child: inside(child) for child in children[identifier]} if identifier in children else None

    return inside(root_id)


def user(row: User, root: str) -> dict[str, Any]:
    shown = {
        **row.extra,
        "options": row.options,
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


def group(row: Group, root: str) -> dict[str, Any]:
    return {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description,
        "links": {"self": f"{root}/groups/{row.id}"},
    }


def role(row: Role, root: str) -> dict[str, Any]:
    return {
        **row.extra,
        "options": row.options,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description,
        "links": {"self": f"{root}/roles/{row.id}"},
    }


VIEWS: dict[str, Any] = {"domain": domain, "project": project, "user": user, "group": group, "role": role}


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
    shown |= _delegation(session)
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


def _delegation(session: Session) -> dict[str, Any]:
    """What a token says of the trust or the application credential that it was got by."""
    shown: dict[str, Any] = {}
    if session.trust is not None:
        shown["OS-TRUST:trust"] = {
            "id": session.trust.id,
            "trustor_user": {"id": session.trust.trustor_user_id},
            "trustee_user": {"id": session.trust.trustee_user_id},
            "impersonation": session.trust.impersonation,
        }
    if session.credential is not None:
        one = session.credential
        shown["application_credential"] = {"id": one.id, "name": one.name, "restricted": not one.unrestricted}
        if session.access_rules is not None:
            shown["application_credential"]["access_rules"] = [
                {"id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path}
                for rule in session.access_rules
            ]
    return shown


def assignment(row: Assignment | Effective, root: str, names: dict[str, dict[str, Any]] | None) -> dict[str, Any]:
    """One assignment; with `names` (rows by kind and id) names beside the ids."""
    source = row.source if isinstance(row, Effective) else row
    actor, actor_id = ("user", row.user_id) if isinstance(row, Effective) else (row.actor_kind, row.actor_id)
    parts = {"role": {"id": row.role_id}, actor: {"id": actor_id}}
    if row.target_kind != "system":
        parts[row.target_kind] = {"id": row.target_id}
    for kind, part in parts.items() if names is not None else ():
        _name(kind, part, names or {})
    scope: dict[str, Any] = {row.target_kind: parts.pop(row.target_kind, {"all": True})}
    if source.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return {**parts, "scope": scope, "links": _reasons(row, source, root)}


def _reasons(row: Assignment | Effective, source: Assignment, root: str) -> dict[str, str]:
    """Where an assignment comes from: what was given, the membership, the role that implied it."""
    place = "system" if source.target_kind == "system" else f"{source.target_kind}s/{source.target_id}"
    path = f"{place}/{source.actor_kind}s/{source.actor_id}/roles/{source.role_id}"
    links = {"assignment": f"{root}/OS-INHERIT/{path}/inherited_to_projects" if source.inherited else f"{root}/{path}"}
    if isinstance(row, Effective) and source.actor_kind == "group":
        links["membership"] = f"{root}/groups/{source.actor_id}/users/{row.user_id}"
    if isinstance(row, Effective) and row.prior_id is not None:
        links["prior_role"] = f"{root}/prior_role/{row.prior_id}/implies/{row.role_id}"
    return links


def _name(kind: str, part: dict[str, Any], names: dict[str, dict[str, Any]]) -> None:
    named = names.get(kind, {}).get(part["id"])
    if named is None:
        return
    part["name"] = named.name
    home = names["domain"].get(getattr(named, "domain_id", None) or "")
    if home is not None:
        part["domain"] = _named(home)


def _named(row: Domain) -> dict[str, str]:
    return {"id": row.id, "name": row.name}
