"""Secrets of the embedded stack: made once, private, fit for the services, never overwritten."""

import json
from pathlib import Path

import pytest

from kalpi_local.demo import read_demo, write_demo
from kalpi_local.errors import LocalError
from kalpi_local.secrets import DEMO_USERS, Secrets
from shared.principal import KeyRing
from shared.settings import decode_key


def test_secrets_are_private_and_stay_the_same(tmp_path: Path) -> None:
    path = tmp_path / "home" / "secrets.json"
    first = Secrets(path)
    written = path.read_bytes()
    second = Secrets(path)
    assert path.read_bytes() == written
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert second.principal_keys == first.principal_keys
    assert second.password("postgres") == first.password("postgres")


def test_keys_are_fit_for_the_services(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets.json")
    assert KeyRing.parse(secrets.principal_keys).newest == secrets.principal_keys.partition(":")[0]
    assert len(decode_key(secrets.signing_key)) == 32
    assert len(decode_key(secrets.refresh_key)) >= 32
    assert len(decode_key(secrets.audit_key)) == 32


def test_every_secret_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    Secrets(path)
    values = list(json.loads(path.read_text()).values())
    assert len(set(values)) == len(values)


def test_a_newer_version_adds_what_it_needs_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    before = Secrets(path).principal_keys
    values = json.loads(path.read_text())
    del values["nats"]
    path.write_text(json.dumps(values))
    after = Secrets(path)
    assert after.password("nats")
    assert after.principal_keys == before


def test_an_unreadable_file_is_not_replaced_since_the_data_would_be_locked(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("{")
    with pytest.raises(LocalError, match="cannot be read"):
        Secrets(path)
    assert path.read_text() == "{"


def test_demo_keys_are_read_back_from_the_file_they_were_written_to(tmp_path: Path) -> None:
    keys = {user: f"key of {user}" for user in DEMO_USERS}
    path = tmp_path / "demo.env"
    assert read_demo(path) == {}
    write_demo(path, "http://127.0.0.1:8080", keys)
    assert read_demo(path) == keys
    assert path.stat().st_mode & 0o777 == 0o600
