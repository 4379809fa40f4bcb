"""Every setting there is, with its default. `kilonova.toml` in the state directory, KILONOVA_… in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
CountOrOff = Annotated[int, msgspec.Meta(ge=0)]
Ratio = Annotated[float, msgspec.Meta(gt=0)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`low_disk_gb` is in GiB. Empty texts mean: decided by itself."""

    state: Path = Path("var")
    host: str = "127.0.0.1"
    port: Port = 8774
    public_url: str = ""
    trust_forwarded: bool = False
    database: str = ""
    region: str = "RegionOne"
    zone: str = "nova"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    policy_dir: str = ""
    token_minutes: Count = 60
    lockout_failures: CountOrOff = 10
    lockout_seconds: Count = 300
    password_days: CountOrOff = 0
    allow_rescope_scoped_token: bool = True
    identity_mode: Literal["own", "keystone"] = "own"
    keystone_url: str = ""
    keystone_user: str = "kilonova"
    keystone_password: str = ""
    keystone_project: str = "service"
    keystone_domain: str = "Default"
    history_days: Count = 90
    reclaim_seconds: CountOrOff = 0
    confirm_seconds: CountOrOff = 0
    driver: Literal["libvirt", "fake"] = "libvirt"
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    node_dir: str = ""
    cpu_ratio: Ratio = 4.0
    memory_ratio: Ratio = 1.0
    disk_ratio: Ratio = 1.0
    low_disk_gb: Amount = 1.0
    parallel_boots: Count = 2
    public_cidr: str = ""
    private_cidr: str = "10.0.0.0/24"
    guest_image: str = ""
    max_image_gb: Count = 1024
    import_origins: str = "http://* https://*"
    import_networks: str = ""
    fake_hosts: Count = 1
    fake_boot_seconds: Amount = 0.0
