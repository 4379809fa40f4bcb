"""What rests on a user, a project or a role and ends with it, in the transaction that takes it away."""

from __future__ import annotations

from kilonova.cloud.identity import (
    application_credential_store,
    credential_store,
    limit_store,
    store,
    store_effective,
    store_epoch,
    trust_store,
)
from kilonova.cloud.identity.model import Named
from kilonova.kit.db import Tx


def end(tx: Tx, subject: str) -> None:
    """Look at what rests on the subject of an epoch: application credentials end when their user no longer holds each
    of their roles; with a user or a project everything of theirs ends."""
    if subject == store_epoch.GLOBAL:
        for rows in (application_credential_store, trust_store, credential_store, limit_store):
            rows.remove_lost(tx)
        for user_id in application_credential_store.holders(tx):
            _end_of_user(tx, user_id)
        return
    kind, _, identifier = subject.partition(":")
    if kind == "user":
        _end_of_user(tx, identifier)
    elif store.find(tx, "project", Named(id=identifier)) is None:
        application_credential_store.remove_all(tx, project_id=identifier)
        trust_store.remove_of_project(tx, identifier)
        credential_store.remove_all(tx, project_id=identifier)
        limit_store.remove_of(tx, project_id=identifier)


def _end_of_user(tx: Tx, user_id: str) -> None:
    if store.find(tx, "user", Named(id=user_id)) is None:
        application_credential_store.remove_all(tx, user_id=user_id)
        trust_store.remove_of_user(tx, user_id)
        credential_store.remove_all(tx, user_id=user_id)
        return
    held: dict[str, set[str]] = {}
    for one in application_credential_store.list_credentials(tx, {"user_id": user_id}):
        if one.project_id not in held:
            roles = store_effective.roles_on(tx, user_id, "project", one.project_id)
            held[one.project_id] = {role.id for role in roles}
        if not held[one.project_id].issuperset(one.roles):
            application_credential_store.remove(tx, one.id, user_id)
