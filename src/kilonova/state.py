"""The state directory: who this cloud is, that only one process writes it, and the files that people use."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from kilonova.core.errors import Conflict

PRIVATE: Final = 0o600
USERS: Final = ("admin", "demo")
OWN: Final = (
    "clouds.yaml", "credential-keys",
    "endpoint", "guest", "hosts", "images", "keys", "kilonova.db", "kilonova.db-shm", "kilonova.db-wal",
    "kilonova.log", "kilonova.pid", "lock", "node", "node-dir", "openrc", "openrc-demo", "public-cidr", "secrets",
    "sign-in", "ssh", "cloud-uuid",
)  # fmt: skip
"""Everything that kilonova itself puts into the directory; `cloud-uuid` last, so that a clean cut short can go on."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """Where and as whom to ask for a token, by password."""

    address: str
    user: str
    password: str = field(repr=False)
    project: str
    domain: str


@dataclass(frozen=True, slots=True)
class StateDir:
    """Paths below one directory, made on first use."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "kilonova.db"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def credential_keys(self) -> Path:
        return self.root / "credential-keys"

    @property
    def pid_file(self) -> Path:
        return self.root / "kilonova.pid"

    @property
    def log_file(self) -> Path:
        return self.root / "kilonova.log"

    @property
    def node_note(self) -> Path:
        """Says where the node of this machine keeps disks and consoles."""
        return self.root / "node-dir"

    def prepare(self) -> str:
        """Make the directory if absent and answer the cloud's id: 6 hex digits of its UUID."""
        self.root.mkdir(parents=True, exist_ok=True)
        file = self.root / "cloud-uuid"
        if not file.exists():
            write(file, str(uuid.uuid4()) + "\n", 0o644)
        return file.read_text().strip()[:6]

    def database_url(self) -> str:
        """The embedded database, readable by its owner only (SQLite gives its side files the same mode)."""
        self.database.touch(PRIVATE)
        self.database.chmod(PRIVATE)
        return f"sqlite:///{self.database}"

    def host_id(self, index: int) -> str:
        """The identity of this directory's host number `index`, issued once."""
        file = self.root / "hosts" / f"{index}"
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            write(file, str(uuid.uuid4()) + "\n", PRIVATE)
        return file.read_text().strip()

    def password(self, user: str) -> str:
        """A user's first password, drawn once and kept in a file that only its owner may read."""
        file = self.root / "secrets" / f"{user}-password"
        if not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            write(file, secrets.token_urlsafe(18) + "\n", PRIVATE)
        return file.read_text().strip()

    def secret(self, name: str) -> bytes:
        """32 random bytes, drawn once."""
        file = self.root / "secrets" / name
        if not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            write(file, secrets.token_hex(32) + "\n", PRIVATE)
        return bytes.fromhex(file.read_text().strip())

    def lock(self) -> int:
        """Be the only process that writes here; the lock lasts as long as the process. Raises Conflict."""
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise Conflict(
                f"Another kilonova runs on {self.root}. Stop it with: kilonova down --state {self.root}"
            ) from error
        # At once, over what a process that was killed left: nobody is to take that number for this one's.
        write(self.pid_file, f"{os.getpid()}\n", 0o644)
        return descriptor

    def lock_prepared(self) -> int:
        """As `lock`, in a directory that may have to be made first."""
        self.prepare()
        return self.lock()

    def write_credentials(self, url: str, region: str) -> None:
        """openrc files and clouds.yaml for the users that every cloud has; readable by their owner only."""
        clouds = {}
        for user in USERS:
            auth = {
                "auth_url": f"{url}/identity/v3",
                "username": user,
                "password": self.password(user),
                "project_name": user,
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            }
            name = "kilonova" if user == "admin" else f"kilonova-{user}"
            # openstacksdk would otherwise want a floating address for each server; there are none yet.
            kept = {"region_name": region, "identity_api_version": "3", "floating_ip_source": "None"}
            clouds[name] = {"auth": auth, **kept}
            write(self.root / ("openrc" if user == "admin" else f"openrc-{user}"), _openrc(auth, region), PRIVATE)
        write(self.root / "clouds.yaml", _yaml(clouds), PRIVATE)
        (self.root / "sign-in").unlink(missing_ok=True)
        write(self.root / "endpoint", url + "\n", 0o644)

    def write_foreign(self, url: str, sign_in: SignIn) -> None:
        """Where identity is not our own: how this cloud's commands sign in; readable by their owner only."""
        for name in ("openrc", *(f"openrc-{user}" for user in USERS[1:]), "clouds.yaml"):
            (self.root / name).unlink(missing_ok=True)
        write(self.root / "sign-in", msgspec.json.encode(sign_in).decode() + "\n", PRIVATE)
        write(self.root / "endpoint", url + "\n", 0o644)

    def sign_in(self, user: str) -> SignIn:
        """How one of the users that every cloud has signs in, or the service user where identity is not our own."""
        file = self.root / "sign-in"
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=SignIn)
        return SignIn(f"{self.endpoint()}/identity/v3", user, self.password(user), user, "Default")

    def endpoint(self) -> str | None:
        """Where the cloud on this directory listens, if it ever did."""
        file = self.root / "endpoint"
        return file.read_text().strip() if file.exists() else None

    def remove(self) -> list[str]:
        """Remove what is kilonova's, and the directory when nothing else is in it; answers what was left."""
        for name in OWN:
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        left = sorted(path.name for path in self.root.iterdir())
        if not left:
            self.root.rmdir()
        return left

    def running(self) -> int | None:
        """The process that serves from this directory or is about to, None when nothing does."""
        return int(self.pid_file.read_text()) if self.pid_file.exists() and self.held() else None

    def held(self) -> bool:
        """Whether a process holds this directory; it does until its very end, when every file is closed."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file at once, so that nobody reads half of it; never readable by more than `mode` allows."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _openrc(auth: dict[str, str], region: str) -> str:
    lines = [f"export OS_{name.upper()}='{value}'" for name, value in auth.items()]
    lines += [f"export OS_REGION_NAME='{region}'", "export OS_IDENTITY_API_VERSION='3'"]
    return "\n".join(["# source this file", *lines]) + "\n"


def _yaml(clouds: Mapping[str, object]) -> str:
    """JSON is YAML."""
    return msgspec.json.format(msgspec.json.encode({"clouds": clouds}), indent=2).decode() + "\n"
