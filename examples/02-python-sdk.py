#!/usr/bin/env python3
"""Servers with openstacksdk: find, create, wait, stop, start, delete.

    examples/02-python-sdk.py [STATE]

Needs a running cloud (its state directory is STATE, ./var unless given) and openstacksdk.
"""
# ruff: noqa: T201

import sys
from pathlib import Path

import openstack
from openstack.config import OpenStackConfig


def main(state: Path) -> None:
    """Take one server through its life."""
    config = OpenStackConfig(config_files=[str(state / "clouds.yaml")])
    cloud = openstack.connection.Connection(config=config.get_one("kilonova"))
    image = cloud.image.find_image("kilonova-guest", ignore_missing=False)
    flavor = cloud.compute.find_flavor("m1.nano", ignore_missing=False)
    network = cloud.network.find_network("private", ignore_missing=False)

    server = cloud.compute.create_server(
        name="example-02", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}]
    )
    try:
        server = cloud.compute.wait_for_server(server, wait=180)
        addresses = [one["addr"] for nics in server.addresses.values() for one in nics]
        print(f"{server.name} is {server.status} at {', '.join(addresses)}")

        cloud.compute.stop_server(server)
        server = cloud.compute.wait_for_server(server, status="SHUTOFF", wait=120)
        print(f"{server.name} is {server.status}")

        cloud.compute.start_server(server)
        server = cloud.compute.wait_for_server(server, wait=120)
        print(f"{server.name} is {server.status}")
    finally:
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, wait=120)
    print("example-02 is gone")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "var"))
