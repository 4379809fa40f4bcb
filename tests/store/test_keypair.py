"""Key pairs: what counts as a key, and whose it is."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from kilonova.cloud.keypair.service import KeypairService
from kilonova.cloud.quota import store as quota
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Invalid, NotBuilt, NotFound, QuotaExceeded
from kilonova.kit.db import Database

ANN = Context("ann", "p", frozenset({"member"}), "req-1")
BOB = Context("bob", "p", frozenset({"member"}), "req-1")


def openssh() -> str:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


KEY = openssh()


@pytest.fixture
async def keypairs(database: Database) -> AsyncIterator[KeypairService]:
    service = KeypairService(database)
    yield service
    await service.close()


def ssh_keygen(path: Path, public_key: str) -> str:
    path.write_text(public_key)
    told = subprocess.run(
        ["ssh-keygen", "-l", "-E", "md5", "-f", str(path)], capture_output=True, text=True, check=True
    )
    return told.stdout.split()[1].removeprefix("MD5:")


async def test_fingerprints_are_those_of_openssh(keypairs: KeypairService, tmp_path: Path) -> None:
    made = await keypairs.import_key(ANN, "mine", KEY + " ann@home\n")
    assert made.fingerprint == ssh_keygen(tmp_path / "key", KEY)
    generated, private = await keypairs.generate(ANN, "new")
    assert generated.fingerprint == ssh_keygen(tmp_path / "key", generated.public_key)
    key = serialization.load_pem_private_key(private.encode(), None)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert generated.public_key.startswith(public.decode())


async def test_certificates(keypairs: KeypairService) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    made = await keypairs.import_key(ANN, "win", pem, "x509")
    assert made.fingerprint == certificate.fingerprint(hashes.SHA1()).hex(":")
    with pytest.raises(Invalid):
        await keypairs.import_key(ANN, "bad", KEY, "x509")
    with pytest.raises(NotBuilt):
        await keypairs.generate(ANN, "gen", "x509")


KIND, BLOB = KEY.split()
BAD = ["", "ssh-rsa", "nonsense", KIND, f"ssh-rsa {BLOB}", f"{KIND} {BLOB[:-8]}", f"{KIND} !!!", f"{KEY}\n{KEY}"]


BAD += [f"{KEY}\x00", "x" * 40000, f"sk-ssh-ed25519@openssh.com {BLOB}"]


@pytest.mark.parametrize("public_key", BAD, ids=range(len(BAD)))  # names of their own: the key is a new one each time
async def test_what_is_no_key_is_refused(keypairs: KeypairService, public_key: str) -> None:
    with pytest.raises(Invalid):
        await keypairs.import_key(ANN, "k", public_key)
    assert await keypairs.list(ANN) == []


@pytest.mark.parametrize("name", ["", " ", "n" * 256, "a\nb"])
async def test_bad_names(keypairs: KeypairService, name: str) -> None:
    with pytest.raises(Invalid):
        await keypairs.import_key(ANN, name, KEY)


async def test_they_are_the_users_own(keypairs: KeypairService) -> None:
    await keypairs.import_key(ANN, "k", KEY)
    with pytest.raises(Conflict):
        await keypairs.import_key(ANN, "k", KEY)
    await keypairs.import_key(BOB, "k", KEY)
    await keypairs.delete(BOB, "k")
    with pytest.raises(NotFound):
        await keypairs.get(BOB, "k")
    with pytest.raises(NotFound):
        await keypairs.delete(BOB, "k")
    assert (await keypairs.get(ANN, "k")).user_id == "ann"
    assert (await keypairs.get(BOB, "k", user_id="ann")).public_key == KEY


async def test_pages_by_name(keypairs: KeypairService) -> None:
    for name in ("c", "a", "b"):
        await keypairs.import_key(ANN, name, KEY)
    assert [k.name for k in await keypairs.list(ANN, 2)] == ["a", "b"]
    assert [k.name for k in await keypairs.list(ANN, 2, "b")] == ["c"]
    with pytest.raises(Invalid):
        await keypairs.list(BOB, 2, "b")


async def test_quota_is_the_users_and_exact(keypairs: KeypairService, database: Database) -> None:
    await database.write(lambda tx: quota.set_limit(tx, ANN.project_id or "", "key_pairs", 1))
    await keypairs.import_key(ANN, "one", KEY)
    with pytest.raises(QuotaExceeded):
        await keypairs.import_key(ANN, "two", KEY)
    assert [k.name for k in await keypairs.list(ANN)] == ["one"]
    await keypairs.delete(ANN, "one")
    await keypairs.import_key(ANN, "two", KEY)
    assert await database.read(quota.recount) == []
