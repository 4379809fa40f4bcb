"""The config drive, read back by the part that knows ISO 9660."""

from __future__ import annotations

import json
from io import BytesIO

import msgspec
from pycdlib import PyCdlib

from kilonova.guestdata.config_drive import render
from kilonova.wire.guest import GuestDocument, GuestSpec

DOCUMENT = GuestDocument(
    server_id="33333333-0000-4000-8000-00000000abcd",
    name="hello",
    hostname="hello",
    project_id="p",
    user_id="u",
    admin_password="s3cret",
    public_keys={"k1": "ssh-ed25519 AAAA x"},
    user_data="aGk=",
    created_at=1_700_000_000_000_000,
)
SPEC = GuestSpec(server_id=DOCUMENT.server_id, fence=1, version=1, power="running", document=DOCUMENT)


def extract(image: bytes, names: str) -> dict[str, bytes]:
    """Every file, found by its Rock Ridge (`rr_path`) or Joliet (`joliet_path`) name."""
    iso = PyCdlib()
    iso.open_fp(BytesIO(image))
    found = {}
    for folder, _, files in iso.walk(**{names: "/"}):
        for name in files:
            path = f"{folder.rstrip('/')}/{name}"
            out = BytesIO()
            iso.get_file_from_iso_fp(out, **{names: path})
            found[path] = out.getvalue()
    iso.close()
    return found


def test_holds_both_dialects_under_both_kinds_of_names() -> None:
    image = render(SPEC, seed=b"s" * 512)
    files = extract(image, "rr_path")
    assert files == extract(image, "joliet_path")
    assert len(files) == 4 + 2 * 11 + 9 + 8 + 6
    assert files["/openstack/latest/user_data"] == b"hi" == files["/ec2/2009-04-04/user-data"]
    assert json.loads(files["/openstack/2012-08-10/meta_data.json"])["admin_pass"] == "s3cret"
    meta = json.loads(files["/ec2/latest/meta-data.json"])
    assert meta["public-keys"] == {"0": {"_name": "0=k1", "openssh-key": "ssh-ed25519 AAAA x"}}
    assert image[16 * 2048 + 40 : 16 * 2048 + 72].rstrip() == b"config-2"


def test_equal_input_gives_equal_bytes_dated_by_the_server() -> None:
    image = render(SPEC)
    assert render(SPEC) == image
    iso = PyCdlib()
    iso.open_fp(BytesIO(image))
    date = iso.get_record(rr_path="/openstack/latest/meta_data.json").date
    assert (date.years_since_1900, date.month, date.day_of_month, date.hour) == (123, 11, 14, 22)
    iso.close()
    year = b"2023111422132000"
    assert image.count(year) == 3 * 3
    later = msgspec.structs.replace(SPEC, document=msgspec.structs.replace(DOCUMENT, created_at=0))
    assert year not in render(later)


def test_guest_without_a_document_still_gets_a_readable_drive() -> None:
    files = extract(render(msgspec.structs.replace(SPEC, document=None)), "rr_path")
    assert files["/ec2/latest/meta-data.json"] == b"{}"
