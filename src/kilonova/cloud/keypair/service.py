"""Commands and queries on key pairs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from kilonova.cloud.keypair import key, store
from kilonova.cloud.keypair.model import Keypair, KeyType
from kilonova.cloud.quota import store as quota
from kilonova.core.context import Context
from kilonova.core.errors import Invalid, NotBuilt, QuotaExceeded
from kilonova.kit.db import Database, Tx

MAX_NAME = 255


class KeypairService:
    """Users' key pairs. Every method acts on the caller's own unless `user_id` names another user, which policy has
    to allow before. The quota `key_pairs` is counted per user, under the name `user:<id>`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # Making an RSA key takes a tenth of a second or a few: one at a time is enough, and leaves a core to others.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="keypair")

    async def import_key(
        self, context: Context, name: str, public_key: str, kind: KeyType = "ssh", user_id: str | None = None
    ) -> Keypair:
        """Store a public key. Raises Invalid (no such key), Conflict (name taken), QuotaExceeded."""
        loop = asyncio.get_running_loop()
        print_ = await loop.run_in_executor(self._pool, key.fingerprint, kind, public_key)
        return await self._add(context, user_id or context.user_id, name, kind, print_, public_key)

    async def generate(
        self, context: Context, name: str, kind: KeyType = "ssh", user_id: str | None = None
    ) -> tuple[Keypair, str]:
        """Make a key pair (RSA, 2048 bits); answers it with the private key, which is kept nowhere.

        Raises Conflict (name taken), QuotaExceeded, NotBuilt (x509).
        """
        if kind != "ssh":
            raise NotBuilt("Certificates are not generated here; import one.")
        loop = asyncio.get_running_loop()
        private, public = await loop.run_in_executor(self._pool, key.generate_ssh, "Generated-by-kilonova")
        owner = user_id or context.user_id
        return await self._add(context, owner, name, kind, key.fingerprint(kind, public), public), private

    async def get(self, context: Context, name: str, user_id: str | None = None) -> Keypair:
        """Raises NotFound."""
        owner = user_id or context.user_id
        return await self._db.read(lambda tx: store.get(tx, owner, name))

    async def list(
        self, context: Context, limit: int = 1000, marker: str | None = None, user_id: str | None = None
    ) -> Sequence[Keypair]:
        """One page, by name. Raises Invalid (marker)."""
        owner = user_id or context.user_id
        return await self._db.read(lambda tx: store.page(tx, owner, limit, marker))

    async def delete(self, context: Context, name: str, user_id: str | None = None) -> None:
        """Remove it; servers keep their copy. Raises NotFound."""
        owner = user_id or context.user_id

        def work(tx: Tx) -> None:
            found = store.get(tx, owner, name)
            quota.refund(tx, f"keypair:{found.number}")
            store.remove(tx, found.number)

        await self._db.write(work)

    async def close(self) -> None:
        """Let go of the thread."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _add(
        self, context: Context, owner: str, name: str, kind: KeyType, print_: str, public_key: str
    ) -> Keypair:
        if not name.strip() or len(name) > MAX_NAME or any(ord(character) < 32 for character in name):
            raise Invalid(f"Keypair name must be a string of 1 to {MAX_NAME} characters")

        def work(tx: Tx) -> Keypair:
            new = store.add(tx, owner, name, kind, print_, public_key)
            try:
                quota.charge(tx, f"user:{owner}", f"keypair:{new.number}", {"key_pairs": 1}, context.project_id)
            except QuotaExceeded as error:
                raise QuotaExceeded("Quota exceeded, too many key pairs.", **error.facts) from error
            return new

        return await self._db.write(work)
