"""The tables of the schema `auth`, as the newest revision in `migrations` leaves them (a test compares the two)."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import CIDR, JSONB

__all__ = [
    "SCHEMA",
    "api_key",
    "api_key_use",
    "audit_event",
    "audit_head",
    "audit_relay",
    "known_network",
    "mail",
    "metadata",
    "one_time_token",
    "refresh_token",
    "session",
    "tenant",
    "throttle",
    "user_account",
]

SCHEMA = "auth"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    },
)


def _time(name: str, *, nullable: bool = False) -> "Column[object]":
    return Column(name, DateTime(timezone=True), nullable=nullable)


tenant = Table(
    "tenant",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    _time("created_at"),
    Column("personal", Boolean, nullable=False),
    Column("tier", Text, nullable=True),
    Column("quota", Text, nullable=False),
    Column("allowed_origins", ARRAY(Text), nullable=False),
    Column("is_active", Boolean, nullable=False),
)
_PREFIX = {"prefix": "text_pattern_ops"}
Index("tenant_name_prefix", func.lower(tenant.c.name).label("prefix"), postgresql_ops=_PREFIX)
Index("tenant_of_tier", tenant.c.tier, tenant.c.id, postgresql_where=tenant.c.tier.is_not(None))
Index("tenant_disabled", tenant.c.id, postgresql_where=~tenant.c.is_active)
Index("tenant_with_origins", tenant.c.id, postgresql_where=tenant.c.is_active & (tenant.c.allowed_origins != text("'{}'")))

user_account = Table(
    "user_account",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey(tenant.c.id), nullable=False),
    Column("username", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("is_active", Boolean, nullable=False),
    _time("created_at"),
    _time("password_changed_at"),
    Column("tenant_role", Text, nullable=False),
    UniqueConstraint("tenant_id", "id"),
)
Index("user_account_username_key", func.lower(user_account.c.username), unique=True)
Index("user_account_email_key", func.lower(user_account.c.email), unique=True)
Index("user_account_username_prefix", func.lower(user_account.c.username).label("prefix"), postgresql_ops=_PREFIX)
Index("user_account_email_prefix", func.lower(user_account.c.email).label("prefix"), postgresql_ops=_PREFIX)
Index("user_account_of_tier", user_account.c.tier, user_account.c.id)
Index("user_account_disabled", user_account.c.id, postgresql_where=~user_account.c.is_active)
Index("user_account_active", user_account.c.tenant_id, postgresql_where=user_account.c.is_active)


def _of_user() -> ForeignKeyConstraint:
    """Of both, so that a row moves with its user and cannot lie in another tenant than they do."""
    return ForeignKeyConstraint(["tenant_id", "user_id"], [user_account.c.tenant_id, user_account.c.id], onupdate="CASCADE")


api_key = Table(
    "api_key",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("key_sha256", Text, nullable=False, unique=True),
    Column("key_hint", Text, nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("allowed_ips", ARRAY(CIDR), nullable=True),
    Column("replaced_by", Uuid, nullable=True),
    _of_user(),
    UniqueConstraint("tenant_id", "id"),
)
Index("api_key_of_user", api_key.c.user_id, api_key.c.id, postgresql_where=api_key.c.revoked_at.is_(None))
Index("api_key_of_owner", api_key.c.tenant_id, api_key.c.user_id)
_key_end = func.least(api_key.c.expires_at, api_key.c.revoked_at)
Index("api_key_by_end", _key_end, postgresql_where=_key_end.is_not(None))

api_key_use = Table(
    "api_key_use",
    metadata,
    Column("key_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    _time("last_used_at"),
    ForeignKeyConstraint(["tenant_id", "key_id"], [api_key.c.tenant_id, api_key.c.id], onupdate="CASCADE", ondelete="CASCADE"),
)

session = Table(
    "session",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    _time("created_at"),
    _time("expires_at"),
    _time("revoked_at", nullable=True),
    _time("refresh_due_at", nullable=True),
    _of_user(),
    UniqueConstraint("tenant_id", "id"),
)
Index("session_of_user", session.c.user_id, session.c.expires_at)
Index("session_by_end", func.least(session.c.expires_at, session.c.revoked_at))

refresh_token = Table(
    "refresh_token",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("session_id", Uuid, nullable=False),
    Column("token_sha256", Text, nullable=False, unique=True),
    _time("created_at"),
    _time("spent_at", nullable=True),
    ForeignKeyConstraint(
        ["tenant_id", "session_id"], [session.c.tenant_id, session.c.id], onupdate="CASCADE", ondelete="CASCADE"
    ),
)
Index("refresh_token_of_session", refresh_token.c.session_id)

# Of names that may be nobody's: keys and accounts are digests, which belong to no tenant.
throttle = Table(
    "throttle",
    metadata,
    Column("key", Text, primary_key=True),
    Column("account", Text, nullable=True),
    Column("count", Double, nullable=False),
    _time("last_at"),
    _time("blocked_until"),
)
Index("throttle_by_age", throttle.c.last_at)
Index("throttle_of_account", throttle.c.account, postgresql_where=throttle.c.account.is_not(None))

known_network = Table(
    "known_network",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("user_id", Uuid, primary_key=True),
    Column("network", Text, primary_key=True),
    _time("last_at"),
    _of_user(),
)
Index("known_network_of_owner", known_network.c.tenant_id, known_network.c.user_id)
Index("known_network_by_age", known_network.c.last_at)

one_time_token = Table(
    "one_time_token",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=True),
    Column("purpose", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=True),
    Column("token_sha256", Text, nullable=False, unique=True),
    _time("created_at"),
    _time("expires_at"),
    _time("used_at", nullable=True),
    Column("mailbox", Text, nullable=True),
    _of_user(),
)
_mailbox = one_time_token.c.mailbox
Index("one_time_token_to_mailbox", _mailbox, one_time_token.c.created_at, postgresql_where=_mailbox.is_not(None))
Index("one_time_token_of_owner", one_time_token.c.tenant_id, one_time_token.c.user_id)
Index("one_time_token_by_end", one_time_token.c.expires_at)
Index("one_time_token_newest", one_time_token.c.user_id, one_time_token.c.purpose, one_time_token.c.created_at)

# An outbox, of which a row is gone when it is sent. It names an address alone: who asks for a mail may be nobody's.
mail = Table(
    "mail",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("address", Text, nullable=False),
    _time("made_at"),
    _time("due_at"),
    Column("attempts", Integer, nullable=False),
)
Index("mail_by_due", mail.c.due_at)

# The trail outlives what it tells of, so it references nothing. `recorded` is the order of writing, which ids of the same
# millisecond do not give; `seq` and `hash` are null until the relay makes the row a link of the chain: the row is the outbox.
# Triggers keep it as it is: nothing is deleted, nothing but those two is changed, and they once.
audit_event = Table(
    "audit_event",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("recorded", BigInteger, Identity(always=True), nullable=False),
    Column("seq", BigInteger, nullable=True, unique=True),
    _time("occurred_at"),
    Column("noun", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("actor", Text, nullable=True),
    Column("request_id", Text, nullable=False),
    Column("client_ip", Text, nullable=True),
    Column("user_id", Uuid, nullable=True),
    Column("tenant_id", Uuid, nullable=True),
    Column("key_id", Uuid, nullable=True),
    Column("session_id", Uuid, nullable=True),
    Column("details", JSONB, nullable=False),
    Column("hash", LargeBinary, nullable=True),
    Column("before", JSONB(none_as_null=True), nullable=True),
    Column("after", JSONB(none_as_null=True), nullable=True),
    CheckConstraint("hash IS NULL OR (seq IS NOT NULL AND octet_length(hash) = 32)", name="audit_event_link_check"),
)
Index("audit_event_outbox", audit_event.c.seq, audit_event.c.recorded, postgresql_where=audit_event.c.hash.is_(None))
Index("audit_event_of_tenant", audit_event.c.tenant_id, audit_event.c.seq.desc())
Index("audit_event_of_user", audit_event.c.user_id, audit_event.c.seq.desc())
Index("audit_event_of_actor", audit_event.c.actor, audit_event.c.seq.desc())
Index("audit_event_of_kind", audit_event.c.noun, audit_event.c.event, audit_event.c.seq.desc())
Index("audit_event_of_request", audit_event.c.request_id, audit_event.c.seq.desc())
Index("audit_event_by_time", audit_event.c.occurred_at, postgresql_using="brin")

# one row
audit_relay = Table(
    "audit_relay",
    metadata,
    Column("single", Boolean, CheckConstraint("single", name="audit_relay_single_check"), primary_key=True),
    Column("published_seq", BigInteger, nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    _time("signed_at"),
    Column("kid", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
