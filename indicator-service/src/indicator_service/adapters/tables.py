"""The tables of the schema `indicator`, as the newest revision in `migrations` leaves them (a test compares the two)."""

from sqlalchemy import Column, DateTime, ForeignKey, Integer, MetaData, Table, Text, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["SCHEMA", "custom_indicator", "custom_indicator_version", "metadata"]

SCHEMA = "indicator"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={"pk": "%(table_name)s_pkey", "fk": "%(table_name)s_%(column_0_name)s_fkey"},
)

# the unique key is also the index of every question: one owner's indicators, in the order of their names
custom_indicator = Table(
    "custom_indicator",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("user_id", "name", name="custom_indicator_owner_name_key"),
)

# the current version is among them
custom_indicator_version = Table(
    "custom_indicator_version",
    metadata,
    Column("indicator_id", Uuid, ForeignKey(custom_indicator.c.id, ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("expression", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
