"""Tempest, OpenStack's own API tests, against a cloud of ours. Its configuration is read from the cloud's own answers:
what the extensions list claims is run."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.conformance import venv
from tests.conformance.evidence import Outcome

from daemon import Caller
from kilonova.state import StateDir

PACKAGES: Final = ("tempest==47.0.0",)
HOURS: Final = 3600.0


def run(caller: Caller, state: Path, folder: Path, pattern: str, source: str) -> list[Outcome]:
    """Every test that matches `pattern`, in a workspace below `folder`."""
    programs = venv.make("tempest", *PACKAGES)
    workspace = folder / "tempest"
    # Tempest keeps a register of workspaces in the home directory.
    environ = {**os.environ, "HOME": str(folder)}
    subprocess.run([programs / "tempest", "init", workspace], check=True, capture_output=True, env=environ)
    with (workspace / "etc" / "tempest.conf").open("w") as file:
        configuration(caller, state, workspace, source).write(file)
    command = [programs / "tempest", "run", "--regex", pattern, "--concurrency", "2", "--subunit"]
    log = folder / "subunit"
    with log.open("wb") as stream:
        subprocess.run(command, cwd=workspace, stdout=stream, check=False, timeout=4 * HOURS, env=environ)
    reader = [programs / "python", Path(__file__).with_name("read_subunit.py")]
    with log.open("rb") as stream:
        told = subprocess.run(reader, stdin=stream, capture_output=True, text=True, check=True).stdout
    return [Outcome(**json.loads(line)) for line in told.splitlines()]


def configuration(caller: Caller, state: Path, workspace: Path, source: str) -> configparser.ConfigParser:
    """What Tempest must know of this cloud; `source` is where it has `image.qcow2` fetched from."""
    found = configparser.ConfigParser(interpolation=None)
    found.read_dict(_sections(caller, state, workspace, source))
    return found


def _sections(caller: Caller, state: Path, workspace: Path, source: str) -> Mapping[str, Mapping[str, Any]]:
    flavors = sorted(caller.get("/compute/v2.1/flavors/detail")["flavors"], key=lambda f: (f["ram"], f["disk"]))
    extensions = sorted(e["alias"] for e in caller.get("/network/v2.0/extensions")["extensions"])
    image, public = caller.image_id(), caller.network_id("public")
    return {
        "DEFAULT": {"log_dir": workspace / "logs", "log_file": "tempest.log"},
        "oslo_concurrency": {"lock_path": workspace / "lock"},
        "auth": {
            "use_dynamic_credentials": True,
            "tempest_roles": "member",
            "admin_username": "admin",
            "admin_password": StateDir(state).password("admin"),
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
        },
        "identity": {
            "uri_v3": f"{caller.endpoint}/identity/v3",
            "auth_version": "v3",
            "region": "RegionOne",
            "v3_endpoint_type": "public",
            "default_domain_id": "default",
        },
        "identity-feature-enabled": {"trust": True, "access_rules": True, "security_compliance": False},
        "service_available": {"nova": True, "glance": True, "neutron": True, "cinder": False, "swift": False},
        "compute": {"image_ref": image, "image_ref_alt": image, "flavor_ref": flavors[0]["id"],
                    "flavor_ref_alt": flavors[1]["id"]},
        "image": {"http_image": f"{source}/image.qcow2"},
        "image-feature-enabled": {"import_image": True, "os_glance_reserved": True},
        "network": {"public_network_id": public, "floating_network_name": "public",
                    "project_network_cidr": "10.100.0.0/16", "project_network_mask_bits": 28},
        "network-feature-enabled": {"api_extensions": ",".join(extensions), "ipv6": True, "port_security": True,
                                    "ipv6_subnet_attributes": True},
        "validation": {"run_validation": False},
    }  # fmt: skip
