"""Identity by the unchanged openstackclient: credentials of all kinds, the catalog, limits, trusts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import pytest
from client_cloud import BIN, Cloud

pytestmark = pytest.mark.client


def run_as(cloud: Cloud, environ: dict[str, str], words: str) -> subprocess.CompletedProcess[str]:
    """A command of openstackclient that signs in as the environment says."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
    url = (cloud.state / "endpoint").read_text().strip()
    given = {**clean, "OS_AUTH_URL": f"{url}/identity/v3", "OS_IDENTITY_API_VERSION": "3", **environ}
    argv = [BIN / "openstack", *shlex.split(words)]
    return subprocess.run(argv, env=given, capture_output=True, text=True, timeout=120)


def test_a_program_logs_in_by_application_credential(cloud: Cloud) -> None:
    rules = json.dumps([{"service": "compute", "method": "GET", "path": "/v2.1/servers/**"}])
    made = cloud.show(f"application credential create --role reader --access-rules '{rules}' robot", "demo")
    environ = {
        "OS_AUTH_TYPE": "v3applicationcredential", "OS_APPLICATION_CREDENTIAL_ID": made["ID"],
        "OS_APPLICATION_CREDENTIAL_SECRET": made["Secret"],
    }  # fmt: skip
    done = run_as(cloud, environ, "server list -f json")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    done = run_as(cloud, environ, "network list")
    assert done.returncode == 1
    assert "401" in done.stderr
    assert cloud.column("application credential list", "Name", "demo") == ["robot"]
    assert len(cloud.column("access rule list", "ID", "demo")) == 1
    cloud.tell("application credential delete robot", "demo")
    assert run_as(cloud, environ, "server list").returncode == 1


def test_access_keys(cloud: Cloud) -> None:
    made = cloud.show("ec2 credentials create", "demo")
    assert cloud.column("ec2 credentials list", "Access", "demo") == [made["access"]]
    assert cloud.show(f"ec2 credentials show {made['access']}", "demo")["secret"] == made["secret"]
    assert "403" in cloud.refuse("credential create --type cert admin /dev/null", "demo")
    cloud.tell(f"ec2 credentials delete {made['access']}", "demo")
    assert cloud.column("ec2 credentials list", "Access", "demo") == []


def test_regions_services_and_endpoints(cloud: Cloud) -> None:
    assert {"keystone", "nova", "glance", "neutron"} <= set(cloud.column("service list", "Name"))
    cloud.tell("region create --parent-region RegionOne inner")
    cloud.tell("service create --name designate --enable dns")
    cloud.tell("endpoint create --region inner dns public 'http://dns.example/$(project_id)s'")
    assert cloud.show("catalog show designate", "demo")["endpoints"][0]["url"].startswith("http://dns.example/")
    cloud.tell("endpoint create --region inner dns internal http://dns.example/")
    assert len(cloud.column("endpoint list --service dns", "ID")) == 2
    cloud.tell("service delete dns")
    cloud.tell("region delete inner")
    assert "403" in cloud.refuse("region create more", "demo")


def test_limits(cloud: Cloud) -> None:
    made = cloud.show("registered limit create --service nova --default-limit 10 servers")
    limit = cloud.show("limit create --project demo --service nova --resource-limit 5 servers")
    assert [row["Resource Limit"] for row in cloud.show("limit list", "demo")] == [5]
    assert cloud.show(f"limit set --resource-limit 7 {limit['id']}")["resource_limit"] == 7
    cloud.tell(f"limit delete {limit['id']}")
    cloud.tell(f"registered limit delete {made['id']}")
    assert cloud.show("registered limit list") == []


def test_a_trust(cloud: Cloud) -> None:
    ids = {name: cloud.show(f"user show {name}")["id"] for name in ("admin", "demo")}
    project = cloud.show("project show demo")["id"]
    role = cloud.show("role show reader")["id"]
    words = f"trust create --project {project} --role {role} {ids['demo']} {ids['admin']}"
    trust = cloud.show(words, "demo")
    password = (cloud.state / "secrets" / "admin-password").read_text().strip()
    environ = {"OS_USERNAME": "admin", "OS_PASSWORD": password, "OS_USER_DOMAIN_NAME": "Default",
               "OS_TRUST_ID": trust["id"]}  # fmt: skip
    done = run_as(cloud, environ, "token issue -f json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["project_id"] == project
    assert cloud.column("trust list", "ID") == [trust["id"]]
    cloud.tell(f"trust delete {trust['id']}", "demo")
    assert run_as(cloud, environ, "token issue").returncode == 1


def test_keys_rotate_under_a_running_cloud(cloud: Cloud) -> None:
    before = cloud.tell("token issue -f value -c id", "demo").strip()
    assert "is primary" in cloud.own("identity rotate-keys")
    after = cloud.tell("token issue -f value -c id", "demo").strip()
    for token in (before, after):
        answer = cloud.http().get("/identity/v3/auth/tokens", headers={"X-Subject-Token": token})
        assert answer.status_code == 200
