"""What projects may do and see, what operators see, versions, and what refused commands say."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_cloud import Cloud

pytestmark = pytest.mark.client

BOOT = "server create --image kilonova-guest --flavor m1.nano"


def test_a_project_sees_only_its_own(cloud: Cloud) -> None:
    cloud.tell(f"{BOOT} --nic none ours")
    cloud.tell(f"{BOOT} --network private theirs", "demo")
    cloud.wait("theirs", "ACTIVE", "demo")
    assert cloud.column("server list", "Name", "demo") == ["theirs"]
    assert "No Server found for ours" in cloud.refuse("server show ours", "demo")
    assert "No Server found for ours" in cloud.refuse("server delete ours", "demo")
    ours = cloud.server("ours")["id"]
    assert cloud.http("demo").delete(f"/compute/v2.1/servers/{ours}").status_code == 404
    assert {"ours", "theirs"} <= set(cloud.column("server list --all-projects", "Name"))
    assert cloud.column("server list --project demo", "Name") == ["theirs"]
    shown = cloud.show("server show theirs", "demo")
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["host_status"]) == (None, None)
    cloud.tell("server delete --wait theirs", "demo")
    cloud.tell("server delete --wait ours")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("server list --all-projects", "os_compute_api:servers:detail:get_all_tenants"),
        ("hypervisor list", "os_compute_api:os-hypervisors:list-detail"),
        ("compute service list", "os_compute_api:os-services:list"),
        (f"{BOOT} --nic none --host fake-1 x", "compute:servers:create:requested_destination"),
        ("project show admin", "identity:list_projects"),
    ],
)
def test_what_policy_keeps_for_operators_is_403(cloud: Cloud, words: str, rule: str) -> None:
    said = cloud.refuse(words, "demo")
    assert "403" in said
    assert rule in said


def test_quotas_and_limits(cloud: Cloud) -> None:
    limits = {row["Resource"]: row["Limit"] for row in cloud.show("quota show")}
    assert (limits["instances"], limits["cores"], limits["ports"]) == (-1, -1, -1)
    cloud.tell("quota set --instances 3 demo")
    assert {r["Resource"]: r["Limit"] for r in cloud.show("quota show", "demo")}["instances"] == 3
    cloud.tell(f"{BOOT} --nic none --min 1 --max 5 trim", "demo")
    assert sorted(cloud.column("server list --name trim", "Name", "demo")) == ["trim-1", "trim-2", "trim-3"]
    absolute = {row["Name"]: row["Value"] for row in cloud.show("limits show --absolute", "demo")}
    assert (absolute["instances"], absolute["instances_used"], absolute["total_ram_used"]) == (3, 3, 384)
    said = cloud.refuse(f"{BOOT} --nic none over", "demo")
    assert "403" in said
    assert "Quota exceeded for instances: Requested 1, but already used 3 of 3 instances" in said
    assert "403" in cloud.refuse(f"{BOOT} --nic none --min 2 --max 2 over", "demo")
    assert "identity:list_projects" in cloud.refuse("quota set --instances 9 demo", "demo")
    cloud.tell("server delete --wait trim-1 trim-2 trim-3", "demo")
    usage = {row["Resource"]: row["In Use"] for row in cloud.show("quota show --usage", "demo")}
    assert usage["instances"] == 0
    cloud.tell("quota set --instances 10 demo")


def test_what_operators_see_of_hosts(cloud: Cloud) -> None:
    hosts = ["fake-1", "fake-2", "fake-3"]
    assert cloud.show("availability zone list --compute") == [{"Zone Name": "nova", "Zone Status": "available"}]
    assert cloud.column("availability zone list --compute --long", "Host Name") == hosts
    assert cloud.column("hypervisor list", "Hypervisor Hostname") == hosts
    shown = cloud.show("hypervisor show fake-1")
    assert (shown["hypervisor_type"], shown["state"], shown["status"]) == ("fake", "up", "enabled")
    rows = cloud.show("compute service list --long")
    assert [(r["Host"], r["Binary"], r["State"]) for r in rows] == [(h, "nova-compute", "up") for h in hosts]
    cloud.tell("compute service set --disable --disable-reason tired fake-2 nova-compute")
    assert cloud.show("compute service list --long --host fake-2")[0]["Disabled Reason"] == "tired"
    assert "disabled" in cloud.own("status")
    cloud.tell("compute service set --enable fake-2 nova-compute")
    assert {"servers", "os-keypairs", "os-instance-actions"} <= set(cloud.column("extension list --compute", "Alias"))


def test_versions_as_clients_find_them(cloud: Cloud) -> None:
    rows = {r["Service Type"]: r for r in cloud.show("versions show") if r["Status"] == "CURRENT"}
    assert {kind: r["Version"] for kind, r in rows.items()} == {
        "identity": "3.14", "compute": "2.1", "image": "2.17", "network": "2.0", "placement": "1.0",
    }  # fmt: skip
    compute = rows["compute"]
    assert compute["Min Microversion"] == "2.1"
    assert tuple(map(int, compute["Max Microversion"].split("."))) >= (2, 79)
    said = cloud.refuse("--os-compute-api-version 2.9999 server list")
    assert f"a maximum of {compute['Max Microversion']}" in said


@pytest.mark.parametrize("version", ["2.1", "2.37", "2.79", "2.latest"])
def test_the_first_server_at_a_microversion(cloud: Cloud, version: str) -> None:
    at = f"--os-compute-api-version {version}"
    network = "" if version == "2.1" else "--nic none"
    cloud.tell(f"{at} {BOOT} {network} at")
    cloud.wait("at", "ACTIVE")
    shown = cloud.show(f"{at} server show at")
    assert shown["status"] == "ACTIVE"
    # The flavor is embedded from 2.47, whether a server is locked is told from 2.9, its hostname from 2.3.
    assert isinstance(shown["flavor"], str) == (version in ("2.1", "2.37"))
    assert shown["locked"] is (None if version == "2.1" else False)
    assert shown["OS-EXT-SRV-ATTR:hostname"] == (None if version == "2.1" else "at")
    (row,) = cloud.show(f"{at} server list --long --name ^at$")
    assert (row["Name"], row["Image Name"]) == ("at", "kilonova-guest")
    identifier = cloud.show(f"{at} hypervisor show fake-1")["id"]
    assert isinstance(identifier, int) == (version in ("2.1", "2.37"))
    cloud.tell(f"{at} server delete --wait at")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("server create --image nope --flavor m1.nano --nic none x", "No Image found for nope"),
        ("server create --image kilonova-guest --flavor nope --nic none x", "No Flavor found for nope"),
        (f"{BOOT} --network nope x", "No Network found for nope"),
        (f"{BOOT} --network public x", "not allowed to create an interface on external network"),
        (
            f"{BOOT} --nic none --key-name nope x",
            "400: Client Error for url: URL/compute/v2.1/servers, Invalid key_name",
        ),
        (f"{BOOT} --nic none --availability-zone nope x", "The requested availability zone is not available"),
        (f"{BOOT} --nic none --host nope x", "Compute host nope could not be found."),
        (f"{BOOT} --nic none --min 3 --max 2 x", "min instances should be <= max instances"),
        (f"{BOOT} --nic none --user-data /nonexistent x", "No such file or directory"),
        (f"{BOOT} --nic none {'x' * 256}", "400"),
        ("server create --image nobody --flavor m1.nano --nic none x", "is not active"),
        ("server create --image wide --flavor m1.nano --nic none x", "smaller than the minimum size"),
        ("server show nope", "No Server found for nope"),
        ("server stop nope", "No Server found for nope"),
        ("server event show nope req-x", "No Server found for nope"),
        ("flavor create --ram 64 --vcpus 1 --disk 0 m1.nano", "409"),
        ("volume list", "The service is not present in the service catalog"),
    ],
)
def test_a_refused_command_says_why(cloud: Cloud, unfit: None, words: str, said: str) -> None:
    url = (cloud.state / "endpoint").read_text().strip()
    user = "demo" if "public" in words else "admin"
    assert said.replace("URL", url) in cloud.refuse(words, user)


@pytest.fixture(scope="module")
def unfit(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An image without content, and one that wants more disk than the smallest flavor has."""
    disk: Path = tmp_path_factory.mktemp("unfit") / "disk"
    disk.write_bytes(bytes(1024))
    body = {"name": "nobody", "disk_format": "raw", "container_format": "bare"}
    assert cloud.http().post("/image/v2/images", json=body).status_code == 201
    cloud.tell(f"image create --file {disk} --disk-format raw --min-disk 50 wide")


def test_what_is_not_built_answers_501(cloud: Cloud) -> None:
    cloud.tell("aggregate create bare")
    assert "501" in cloud.refuse("--os-compute-api-version 2.81 aggregate cache image bare kilonova-guest")
    cloud.tell("aggregate delete bare")
