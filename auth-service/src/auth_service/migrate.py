"""`kalpi migrate` of the schema `auth`."""

from pathlib import Path

from auth_service.adapters.tables import SCHEMA
from shared.migrations import Migrations

__all__ = ["downgrade", "migrate"]

_migrations = Migrations(
    service="auth-service",
    schema=SCHEMA,
    lock=int.from_bytes(b"authmigr"),
    folder=Path(__file__).with_name("migrations"),
)
migrate = _migrations.upgrade
downgrade = _migrations.downgrade
