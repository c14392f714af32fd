"""`kalpi migrate` of the schema `indicator`."""

from pathlib import Path

from indicator_service.adapters.tables import SCHEMA
from shared.migrations import Migrations

__all__ = ["downgrade", "migrate"]

_migrations = Migrations(
    service="indicator-service",
    schema=SCHEMA,
    lock=int.from_bytes(b"indimigr"),
    folder=Path(__file__).with_name("migrations"),
)
migrate = _migrations.upgrade
downgrade = _migrations.downgrade
