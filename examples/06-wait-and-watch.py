#!/usr/bin/env python3
"""Wait for a server in one request, and watch its whole life as a stream of events, with httpx.

    examples/06-wait-and-watch.py [STATE]

Needs a running cloud (its state directory is STATE, ./var unless given), openstacksdk (to sign in) and httpx.
"""
# ruff: noqa: T201

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openstack
from openstack.config import OpenStackConfig

RETRY_SECONDS = 2


async def watch(client: httpx.AsyncClient, url: str, opened: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
    """Every event after `opened` is set, also over broken connections: the last id seen is where the next stream goes
    on."""
    last = ""
    while True:
        try:
            async with client.stream("GET", url, headers={"last-event-id": last}, timeout=60) as answer:
                answer.raise_for_status()
                opened.set()
                fields: dict[str, str] = {}
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if line:
                        fields[name] = value
                    elif "data" in fields:
                        last = fields["id"]
                        yield {"kind": fields["event"], **json.loads(fields["data"])}
                        fields = {}
        except httpx.TransportError:
            pass
        await asyncio.sleep(RETRY_SECONDS)


async def tell(client: httpx.AsyncClient, url: str, opened: asyncio.Event) -> None:
    """Print what happens in the project until a server is gone."""
    async for event in watch(client, url, opened):
        print(f"{event.get('server_id', '')} {event['kind']} {event.get('phase', '')}")
        if event["kind"] == "server.deleted":
            return


async def main(state: Path) -> None:
    """Make a server, wait for it, delete it, while another task watches."""
    config = OpenStackConfig(config_files=[str(state / "clouds.yaml")])
    cloud = openstack.connection.Connection(config=config.get_one("kilonova"))
    compute = cloud.compute.get_endpoint()
    events = compute.partition("/compute/")[0] + "/kilonova/v1/events"
    image, flavor, network = (
        cloud.image.find_image("kilonova-guest", ignore_missing=False).id,
        cloud.compute.find_flavor("m1.nano", ignore_missing=False).id,
        cloud.network.find_network("private", ignore_missing=False).id,
    )
    body = {"name": "example-06", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}]}
    async with httpx.AsyncClient(headers={"x-auth-token": cloud.auth_token}, timeout=90) as client:
        opened = asyncio.Event()
        watcher = asyncio.create_task(tell(client, events, opened))
        await asyncio.wait_for(opened.wait(), 60)
        made = (await client.post(f"{compute}/servers", json={"server": body})).raise_for_status().json()["server"]
        one = f"{compute}/servers/{made['id']}"
        server = (await client.get(one, params={"wait": 60, "status": "ACTIVE,ERROR"})).raise_for_status().json()
        print(f"example-06 is {server['server']['status']}")
        (await client.delete(one)).raise_for_status()
        gone = await client.get(one, params={"wait": 60, "status": "DELETED"})
        print("example-06 is gone" if gone.status_code == 404 else gone.text)
        await asyncio.wait_for(watcher, 60)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "var")))
