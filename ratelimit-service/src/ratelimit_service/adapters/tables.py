"""The tables of the schema `ratelimit`, as the newest revision in `migrations` leaves them (a test compares the two)."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Index, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["SCHEMA", "change", "metadata", "plan_version", "tenant_override"]

SCHEMA = "ratelimit"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    },
)

# What was changed, by whom and why. `seq` is the order in which changes were committed; the id of the newest change of a plan or
# an override is the revision of the book that is to be in force. Rows are added, and removed when they are old; a trigger keeps
# them as they are meanwhile.
change = Table(
    "change",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("noun", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("client_ip", Text, nullable=True),
    Column("reason", Text, nullable=False),
    Column("before", JSONB(none_as_null=True), nullable=True),
    Column("after", JSONB(none_as_null=True), nullable=True),
)
Index("change_of_book", change.c.seq.desc(), postgresql_where=change.c.noun.in_(["plan", "override"]))
Index("change_of_subject", change.c.noun, change.c.subject, change.c.seq.desc())
Index("change_by_time", change.c.at, postgresql_using="brin")

# The text of every plan file that was in force; the one with the highest number is. `rules` is a digest of what the text says,
# without its comments. The change of the row says who, when and why.
plan_version = Table(
    "plan_version",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("restores", BigInteger, nullable=True),
    Column("text", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("seq", BigInteger, ForeignKey(change.c.seq), nullable=False, unique=True),
)
Index("plan_version_of_source", plan_version.c.source, plan_version.c.number.desc())

# The one that each tenant has: in force, yet to begin, or ended and not yet removed.
tenant_override = Table(
    "tenant_override",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("starts_at", DateTime(timezone=True), nullable=True),
    Column("ends_at", DateTime(timezone=True), nullable=True),
    Column("rules", JSONB, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)
Index("tenant_override_by_end", tenant_override.c.ends_at)
