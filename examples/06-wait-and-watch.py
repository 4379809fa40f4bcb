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


async def watch(client: httpx.AsyncClient, url: str, last: str = "") -> AsyncIterator[dict[str, Any]]:
    """Every event, also over broken connections: the last id seen is where the next stream goes on."""
    while True:
        try:
            async with client.stream("GET", url, headers={"last-event-id": last}, timeout=60) as answer:
                answer.raise_for_status()
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


async def tell(client: httpx.AsyncClient, url: str, name: str) -> None:
    """Print what happens until the server is gone."""
    async for event in watch(client, url):
        print(f"{name}: {event['kind']} {event.get('phase', '')}")
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
        made = (await client.post(f"{compute}/servers", json={"server": body})).raise_for_status().json()["server"]
        one = f"{compute}/servers/{made['id']}"
        # From the first event on: what happened before the stream is open is told first.
        watcher = asyncio.create_task(tell(client, f"{events}?server_id={made['id']}", "example-06"))
        server = (await client.get(one, params={"wait": 60, "status": "ACTIVE,ERROR"})).raise_for_status().json()
        print(f"example-06 is {server['server']['status']}")
        (await client.delete(one)).raise_for_status()
        gone = await client.get(one, params={"wait": 60, "status": "DELETED"})
        print("example-06 is gone" if gone.status_code == 404 else gone.text)
        await asyncio.wait_for(watcher, 60)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "var")))
