#!/usr/bin/env python3
"""What becomes of a project's servers, as it happens: watch one come and go.

    examples/06-watch.py [STATE]

Needs a running cloud (its state directory is STATE, ./var unless given) and openstacksdk.
"""
# ruff: noqa: T201

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
from openstack.config import OpenStackConfig


def watch(cloud: Any, last: str = "") -> Iterator[dict[str, Any]]:
    """Every event of the project after the one with the id `last` (from now on without one)."""
    url = cloud.compute.get_endpoint().partition("/compute")[0] + "/kilonova/v1/events"
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        with cloud.session.get(url, headers=headers, stream=True, timeout=60) as answer:
            for line in answer.iter_lines(decode_unicode=True):
                name, _, value = line.partition(": ")
                if name == "id":
                    last = value
                elif name == "data":
                    yield json.loads(value)
                elif name == "" and value == "kilonova":
                    yield {}  # it is listened from here on


def main(state: Path) -> None:
    """Boot a server, delete it once it runs, and tell what is told of it."""
    config = OpenStackConfig(config_files=[str(state / "clouds.yaml")])
    cloud = openstack.connection.Connection(config=config.get_one("kilonova"))
    image = cloud.image.find_image("kilonova-guest", ignore_missing=False)
    flavor = cloud.compute.find_flavor("m1.nano", ignore_missing=False)
    server = None
    for event in watch(cloud):
        if server is None:
            server = cloud.compute.create_server(
                name="example-06", image_id=image.id, flavor_id=flavor.id, networks="none"
            )
        elif event and event["server_id"] == server.id:
            doing = f", {event['doing']}" if event["doing"] else ""
            print(f"{event['name']}: {event['state'] or 'gone'}{doing}")
            if event["state"] is None:
                return
            if event["state"] == "active" and not event["doing"]:
                cloud.compute.delete_server(server)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "var"))
