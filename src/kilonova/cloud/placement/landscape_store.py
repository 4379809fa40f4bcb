"""Reading all providers at once: five statements, however many there are."""

from __future__ import annotations

from sqlalchemy import select

from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement import inventory_store, provider_store
from kilonova.cloud.placement.landscape import Landscape, Place
from kilonova.cloud.placement.model import DISABLED
from kilonova.cloud.placement.table import aggregate, trait
from kilonova.kit.db import Tx


def load(tx: Tx, *, with_hosts: bool = True) -> Landscape:
    """Everything about every provider. Without `with_hosts`, what hosts themselves have for servers is left out: what
    remains is what others have put there."""
    known = hosts.list_all(tx)
    places = {one.id: Place(one) for one in provider_store.everything(tx, known)}
    for host in known:
        if with_hosts:
            places[host.id].stocks.update(inventory_store.of_host(host))
        if not host.enabled:
            places[host.id].traits.add(DISABLED)
    for row in inventory_store.everything(tx):
        if place := places.get(row.provider_id):
            place.stocks[row.resource_class] = inventory_store.of_row(row)
    for row in tx.execute(select(trait)):
        if place := places.get(row.provider_id):
            place.traits.add(row.trait)
    for row in tx.execute(select(aggregate)):
        if place := places.get(row.provider_id):
            place.aggregates.add(row.aggregate_id)
    return Landscape(places.values())
