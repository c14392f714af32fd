"""Users with their tenants, API keys, sessions, failed attempts, and the audit trail that is the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "auth"
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    _users()
    _credentials()
    op.create_table(
        "login_failure",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("last_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("key", name="login_failure_pkey"),
        schema=SCHEMA,
    )
    op.create_index("login_failure_by_age", "login_failure", ["last_at"], schema=SCHEMA)
    _audit()


def downgrade() -> None:
    for table in ("audit_event", "login_failure", "refresh_token", "session", "api_key", "user_account", "tenant"):
        op.drop_table(table, schema=SCHEMA)


def _users() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="tenant_pkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "user_account",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("roles", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("password_changed_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="user_account_pkey"),
        sa.ForeignKeyConstraint(["tenant_id"], [f"{SCHEMA}.tenant.id"], name="user_account_tenant_id_fkey"),
        schema=SCHEMA,
    )
    for column in ("username", "email"):
        lowered = sa.text(f"lower({column})")
        op.create_index(f"user_account_{column}_key", "user_account", [lowered], unique=True, schema=SCHEMA)


def _credentials() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key_sha256", sa.Text, nullable=False),
        sa.Column("key_hint", sa.Text, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("expires_at", _time, nullable=True),
        sa.Column("revoked_at", _time, nullable=True),
        sa.PrimaryKeyConstraint("id", name="api_key_pkey"),
        sa.ForeignKeyConstraint(["user_id"], [f"{SCHEMA}.user_account.id"], name="api_key_user_id_fkey"),
        sa.UniqueConstraint("key_sha256", name="api_key_key_sha256_key"),
        schema=SCHEMA,
    )
    unrevoked = sa.text("revoked_at IS NULL")
    op.create_index("api_key_of_user", "api_key", ["user_id", "id"], postgresql_where=unrevoked, schema=SCHEMA)
    op.create_table(
        "session",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("expires_at", _time, nullable=False),
        sa.Column("revoked_at", _time, nullable=True),
        sa.PrimaryKeyConstraint("id", name="session_pkey"),
        sa.ForeignKeyConstraint(["user_id"], [f"{SCHEMA}.user_account.id"], name="session_user_id_fkey"),
        schema=SCHEMA,
    )
    op.create_index("session_of_user", "session", ["user_id", "expires_at"], schema=SCHEMA)
    op.create_table(
        "refresh_token",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("token_sha256", sa.Text, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("spent_at", _time, nullable=True),
        sa.PrimaryKeyConstraint("id", name="refresh_token_pkey"),
        sa.ForeignKeyConstraint(
            ["session_id"], [f"{SCHEMA}.session.id"], name="refresh_token_session_id_fkey", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("token_sha256", name="refresh_token_token_sha256_key"),
        schema=SCHEMA,
    )
    op.create_index("refresh_token_of_session", "refresh_token", ["session_id"], schema=SCHEMA)


def _audit() -> None:
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("recorded", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=True),
        sa.Column("occurred_at", _time, nullable=False),
        sa.Column("noun", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("client_ip", sa.Text, nullable=True),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("key_id", sa.Uuid, nullable=True),
        sa.Column("session_id", sa.Uuid, nullable=True),
        sa.Column("details", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_event_pkey"),
        sa.UniqueConstraint("seq", name="audit_event_seq_key"),
        schema=SCHEMA,
    )
    unpublished = sa.text("seq IS NULL")
    op.create_index("audit_event_outbox", "audit_event", ["recorded"], postgresql_where=unpublished, schema=SCHEMA)
