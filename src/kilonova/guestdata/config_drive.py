"""The config drive: both dialects as files on a CD-ROM labelled config-2, as Nova lays it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO

import msgspec

from kilonova.guestdata import ec2, openstack
from kilonova.guestdata.iso_date import set_dates
from kilonova.wire.guest import GuestSpec
from kilonova.wire.network import NetworkDoc

LABEL = "config-2"
EC2_VERSIONS = ("2009-04-04", "latest")
"""Nova leaves out the older ones by default."""


def render(spec: GuestSpec, networks: Mapping[str, NetworkDoc] | None = None, seed: bytes = b"") -> bytes:
    """An ISO 9660 image with Joliet and Rock Ridge names. Equal arguments give equal bytes: all dates are that of the
    server's creation. `networks` are the ports' networks by id, `seed` is randomness for the guest (none: no
    `random_seed`)."""
    from pycdlib import PyCdlib  # loads slowly, and most guests have no config drive

    image = PyCdlib()
    image.new(interchange_level=4, vol_ident=LABEL, joliet=3, rock_ridge="1.09", sys_ident="LINUX")
    made: set[str] = set()
    for path, data in files(spec, networks or {}, seed):
        *folders, name = path.split("/")
        for depth in range(1, len(folders) + 1):
            folder = "/" + "/".join(folders[:depth])
            if folder not in made:
                image.add_directory(folder, rr_name=folders[depth - 1], joliet_path=folder)
                made.add(folder)
        image.add_fp(BytesIO(data), len(data), f"/{path}", rr_name=name, joliet_path=f"/{path}", file_mode=0o100444)
    out = BytesIO()
    image.write_fp(out)
    image.close()
    created_at = spec.document.created_at if spec.document else 0
    return set_dates(out.getvalue(), datetime.fromtimestamp(created_at // 1_000_000, UTC))


def files(spec: GuestSpec, networks: Mapping[str, NetworkDoc], seed: bytes) -> Iterator[tuple[str, bytes]]:
    """Every file of the drive by its path, in the order of writing."""
    for name in EC2_VERSIONS:
        version = ec2.VERSIONS.resolve(name) or name
        yield f"ec2/{name}/meta-data.json", msgspec.json.encode(ec2.meta_data(spec, version))
        user_data = ec2.user_data(spec)
        if user_data is not None:
            yield f"ec2/{name}/user-data", user_data
    for name in openstack.VERSIONS.listed:
        version = openstack.VERSIONS.resolve(name) or name
        for file in openstack.listing(spec, version):
            data = openstack.read(spec, version, file, networks, seed, drive=True)
            if data is not None and file != "password":
                yield f"openstack/{name}/{file}", data
    for number, data in openstack.contents(spec).items():
        yield f"openstack/content/{number}", data
