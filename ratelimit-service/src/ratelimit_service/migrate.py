"""`kalpi migrate` of the schema `ratelimit`."""

from pathlib import Path

from ratelimit_service.adapters.tables import SCHEMA
from shared.migrations import Migrations

__all__ = ["downgrade", "migrate"]

_migrations = Migrations(
    service="ratelimit-service",
    schema=SCHEMA,
    lock=int.from_bytes(b"ratemigr"),
    folder=Path(__file__).with_name("migrations"),
)
migrate = _migrations.upgrade
downgrade = _migrations.downgrade
