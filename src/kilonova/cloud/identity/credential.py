"""Commands and queries on credentials: secrets that identity keeps for users, encrypted with keys of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from kilonova.cloud.identity import credential_store, store
from kilonova.cloud.identity.credential_store import Sealed
from kilonova.cloud.identity.key import KeyRing
from kilonova.core.errors import Conflict, Invalid, NotFound, Unauthenticated
from kilonova.core.ids import new_hex
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database, Tx

EC2: Final = "ec2"


@dataclass(frozen=True, slots=True)
class Credential:
    """One in the clear. `blob` is the secret: of type ec2 a JSON document with `access` and `secret`."""

    id: str
    user_id: str
    project_id: str | None
    type: str
    blob: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An EC2 access key."""

    access: str
    secret: str = field(repr=False)
    user_id: str
    project_id: str


class Credentials:
    """Keeps them. `keys`: a ring of their own; a key that a row was encrypted with must stay in it."""

    def __init__(self, db: Database, clock: Clock, keys: KeyRing, *, new_id: Callable[[], str] = new_hex) -> None:
        self._db = db
        self._clock = clock
        self._keys = keys
        self._new_id = new_id

    async def show(self, identifier: str) -> Credential:
        """One by id. Raises NotFound."""
        return self._open(await self._db.read(lambda tx: credential_store.get(tx, identifier)))

    async def list(self, where: Mapping[str, str]) -> Sequence[Credential]:
        """Those whose fields equal `where`, oldest first."""
        found = await self._db.read(lambda tx: credential_store.list_credentials(tx, where))
        return [self._open(one) for one in found]

    async def create(self, values: Mapping[str, Any]) -> Credential:
        """A new one (`user_id`, `type`, `blob`, `project_id`). Of type ec2 the id is the SHA-256 of its access key, so
        that no two have the same. Raises Invalid, Conflict; NotFound for a user or project that does not exist."""
        identifier = self._new_id()
        values = _spelled(values)
        if values["type"] == EC2:
            if not values.get("project_id"):
                raise Invalid("Expecting to find project_id in credential.")
            identifier = hash_access(_document(values["blob"])["access"])
        row = {"project_id": None, **values, "id": identifier, "secret": self._seal(values["blob"])}
        row.pop("blob")

        def work(tx: Tx) -> Sealed:
            _check_links(tx, row)
            credential_store.create(tx, row)
            return credential_store.get(tx, identifier)

        return self._open(await self._db.write(work))

    async def change(self, identifier: str, values: Mapping[str, Any]) -> Credential:
        """Set fields of one. Raises NotFound; Invalid for what becomes an access key under another's id; Conflict for
        an access key that is another credential's.

        As in Keystone an access key that is changed keeps its id, which is made of the first one: it is found by that
        id alone from then on.
        """
        row = _spelled(values)
        if "blob" in row:
            row["secret"] = self._seal(row.pop("blob"))

        def work(tx: Tx) -> Sealed:
            before = credential_store.get(tx, identifier)
            if row.get("type", before.type).lower() == EC2:
                document = _document(values["blob"] if "blob" in values else self._open(before).blob)
                own = hash_access(document["access"])
                if own != identifier and before.type.lower() != EC2:
                    raise Invalid("The id of a credential of type ec2 is made of its access key.")
                if own != identifier and credential_store.exists(tx, own):
                    raise Conflict("This access key is another credential's.")
                if not row.get("project_id", before.project_id):
                    raise Invalid("Expecting to find project_id in credential.")
            _check_links(tx, row)
            if row:
                credential_store.change(tx, identifier, row)
            return credential_store.get(tx, identifier)

        return self._open(await self._db.write(work))

    async def delete(self, identifier: str) -> None:
        """Remove one. Raises NotFound."""
        await self._db.write(lambda tx: credential_store.remove(tx, identifier))

    async def create_key(self, user_id: str, project_id: str) -> AccessKey:
        """A new EC2 access key of a user on a project. Raises NotFound."""
        key = AccessKey(new_hex(), new_hex(), user_id, project_id)
        blob = msgspec.json.encode({"access": key.access, "secret": key.secret}).decode()
        await self.create({"user_id": user_id, "project_id": project_id, "type": EC2, "blob": blob})
        return key

    async def list_keys(self, user_id: str) -> Sequence[AccessKey]:
        """A user's access keys. Raises NotFound for the user."""
        await self._db.read(lambda tx: store.get(tx, "user", user_id))
        return [as_key(one) for one in await self.list({"user_id": user_id, "type": EC2})]

    async def find_key(self, access: str) -> AccessKey:
        """One by its public half. Raises NotFound."""
        try:
            found = await self.show(hash_access(access))
        except NotFound:
            raise NotFound("EC2 access key not found.") from None
        if found.type.lower() != EC2:
            raise NotFound("EC2 access key not found.")
        return as_key(found)

    def read_blob(self, sealed: str) -> Mapping[str, Any]:
        """`{"blob": …}` of what the store has encrypted."""
        return {"blob": self._keys.decrypt(sealed).decode()}

    def _seal(self, blob: str) -> str:
        return self._keys.encrypt(blob.encode(), self._clock.now() // SECOND)

    def _open(self, one: Sealed) -> Credential:
        try:
            blob = self._keys.decrypt(one.secret).decode()
        except Unauthenticated as failure:
            raise NotFound(
                f"Could not find credential: {one.id}.", detail="no key of the ring decrypts it"
            ) from failure
        return Credential(one.id, one.user_id, one.project_id, one.type, blob)


def hash_access(access: str) -> str:
    """The id of the credential with this access key (as Keystone hashes it)."""
    return hashlib.sha256(access.encode()).hexdigest()


def as_key(one: Credential) -> AccessKey:
    """The access key in a credential of type ec2."""
    document = _document(one.blob)
    return AccessKey(document["access"], str(document.get("secret", "")), one.user_id, one.project_id or "")


def _document(blob: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(blob)
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise Invalid("Invalid blob in credential") from None
    if not isinstance(found, dict) or not isinstance(found.get("access"), str) or not found["access"]:
        raise Invalid("Expecting to find access in credential.")
    return found


def _spelled(values: Mapping[str, Any]) -> dict[str, Any]:
    """With the type ec2, which means something, in lower case."""
    row = dict(values)
    if row.get("type", "").lower() == EC2:
        row["type"] = EC2
    return row


def _check_links(tx: Tx, row: Mapping[str, Any]) -> None:
    if "user_id" in row:
        store.get(tx, "user", row["user_id"])
    if row.get("project_id"):
        store.get(tx, "project", row["project_id"])
