"""Commands and queries on flavors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kilonova.cloud.flavor import store
from kilonova.cloud.flavor.model import DEFAULTS, Flavor, FlavorFilter, FlavorPage
from kilonova.cloud.placement.demand import check_spec
from kilonova.cloud.placement.model import DISK, MEMORY, VCPU
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Database, Tx

MAX_SPECS = 128


class FlavorService:
    """The flavors of one cloud. Who may change them is a question of policy, asked before."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def bootstrap(self) -> None:
        """Give a cloud without any flavor the default ones; one that has some is left alone."""

        def work(tx: Tx) -> None:
            if store.is_empty(tx):
                for flavor in DEFAULTS:
                    store.add(tx, replace(flavor, created_at=tx.now))

        await self._db.write(work)

    async def create(self, context: Context, wanted: Flavor) -> Flavor:
        """A new flavor. Raises Invalid, Conflict (id or name taken)."""
        if wanted.vcpus < 1 or wanted.memory_mb < 1 or min(wanted.root_gb, wanted.ephemeral_gb, wanted.swap_mb) < 0:
            raise Invalid("A flavor needs at least one vCPU and one MiB of memory, and no size may be negative.")
        if not wanted.id or not wanted.name.strip() or len(wanted.id) > 255 or len(wanted.name) > 255:
            raise Invalid("A flavor needs an id and a name of 1 to 255 characters.")

        def work(tx: Tx) -> Flavor:
            new = replace(wanted, created_at=tx.now, updated_at=None)
            store.add(tx, new)
            return new

        return await self._db.write(work)

    async def get(self, context: Context, flavor_id: str) -> Flavor:
        """One flavor that the caller may use. Raises NotFound."""
        return await self._db.read(lambda tx: store.get(tx, _scope(context), flavor_id))

    async def list(self, context: Context, wanted: FlavorFilter, window: FlavorPage) -> Sequence[Flavor]:
        """One page; smallest first unless asked otherwise. Raises Invalid (marker)."""
        return await self._db.read(lambda tx: store.page(tx, _scope(context), wanted, window))

    async def describe(self, context: Context, flavor_id: str, description: str | None) -> Flavor:
        """Change the description. Raises NotFound."""

        def work(tx: Tx) -> Flavor:
            store.get(tx, ALL, flavor_id)
            store.describe(tx, flavor_id, description)
            return store.get(tx, ALL, flavor_id)

        return await self._db.write(work)

    async def delete(self, context: Context, flavor_id: str) -> None:
        """Remove it and who may use it; servers keep their copy. Raises NotFound."""

        def work(tx: Tx) -> None:
            if not store.remove(tx, flavor_id):
                raise NotFound(f"Flavor {flavor_id} could not be found.")

        await self._db.write(work)

    async def set_specs(self, context: Context, flavor_id: str, specs: Mapping[str, str]) -> Mapping[str, str]:
        """Add or replace some extra specs; answers all. Raises NotFound, Invalid (too many, or one makes no sense)."""

        def work(tx: Tx) -> dict[str, str]:
            flavor = store.get(tx, ALL, flavor_id, to_change=True)
            sizes = {VCPU: flavor.vcpus, MEMORY: flavor.memory_mb, DISK: flavor.root_gb + flavor.ephemeral_gb}
            for key, value in specs.items():
                check_spec(key, value, sizes)
            merged = {**flavor.extra_specs, **specs}
            if len(merged) > MAX_SPECS:
                raise Invalid(f"A flavor may have {MAX_SPECS} extra specs.")
            store.set_specs(tx, flavor_id, merged)
            return merged

        return await self._db.write(work)

    async def remove_spec(self, context: Context, flavor_id: str, key: str) -> None:
        """Remove one extra spec. Raises NotFound."""

        def work(tx: Tx) -> None:
            specs = dict(store.get(tx, ALL, flavor_id, to_change=True).extra_specs)
            if specs.pop(key, None) is None:
                raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
            store.set_specs(tx, flavor_id, specs)

        await self._db.write(work)

    async def list_access(self, context: Context, flavor_id: str) -> Sequence[str]:
        """The projects that may use a private flavor. Raises NotFound, also for a public one, as Nova has it."""

        def work(tx: Tx) -> Sequence[str]:
            if store.get(tx, _scope(context), flavor_id).is_public:
                raise NotFound("Access list not available for public flavors.")
            return store.projects(tx, flavor_id)

        return await self._db.read(work)

    async def grant(self, context: Context, flavor_id: str, project_id: str) -> Sequence[str]:
        """Let a project use a private flavor; answers all who may. Raises NotFound, Conflict (public, or it may)."""

        def work(tx: Tx) -> Sequence[str]:
            if store.get(tx, ALL, flavor_id).is_public:
                raise Conflict("Can not add access to a public flavor.")
            if not store.grant(tx, flavor_id, project_id):
                raise Conflict(f"Flavor access already exists for flavor {flavor_id} and project {project_id}.")
            return store.projects(tx, flavor_id)

        return await self._db.write(work)

    async def revoke(self, context: Context, flavor_id: str, project_id: str) -> Sequence[str]:
        """No longer let a project use it; answers all who may. Raises NotFound, Conflict (public)."""

        def work(tx: Tx) -> Sequence[str]:
            if store.get(tx, ALL, flavor_id).is_public:
                raise Conflict("Can not remove access from a public flavor.")
            if not store.revoke(tx, flavor_id, project_id):
                raise NotFound(f"Flavor access not found for {flavor_id} / {project_id} combination.")
            return store.projects(tx, flavor_id)

        return await self._db.write(work)


def _scope(context: Context) -> Scope:
    return ALL if context.is_admin else context.scope
