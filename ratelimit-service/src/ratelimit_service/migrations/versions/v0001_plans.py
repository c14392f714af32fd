"""Plans as they were published, what tenants have instead, and who changed which of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "ratelimit"
_time = sa.DateTime(timezone=True)
_KEPT = ("change", "plan_version")


def upgrade() -> None:
    _change()
    op.create_table(
        "plan_version",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("restores", sa.BigInteger, nullable=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="plan_version_pkey"),
        sa.UniqueConstraint("seq", name="plan_version_seq_key"),
        sa.ForeignKeyConstraint(["seq"], [f"{SCHEMA}.change.seq"], name="plan_version_seq_fkey"),
        schema=SCHEMA,
    )
    op.create_index("plan_version_of_source", "plan_version", ["source", sa.text("number DESC")], schema=SCHEMA)
    op.create_table(
        "tenant_override",
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("starts_at", _time, nullable=True),
        sa.Column("ends_at", _time, nullable=True),
        sa.Column("rules", JSONB, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("changed_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="tenant_override_pkey"),
        schema=SCHEMA,
    )
    op.create_index("tenant_override_by_end", "tenant_override", ["ends_at"], schema=SCHEMA)
    _keep_history()


def downgrade() -> None:
    for table in ("tenant_override", "plan_version", "change"):
        op.drop_table(table, schema=SCHEMA)
    op.execute(f"DROP FUNCTION {SCHEMA}.history_is_kept()")


def _change() -> None:
    op.create_table(
        "change",
        sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("at", _time, nullable=False),
        sa.Column("noun", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("client_ip", sa.Text, nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("before", JSONB, nullable=True),
        sa.Column("after", JSONB, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="change_pkey"),
        sa.UniqueConstraint("id", name="change_id_key"),
        schema=SCHEMA,
    )
    of_book = sa.text("noun IN ('plan', 'override')")
    op.create_index("change_of_book", "change", [sa.text("seq DESC")], postgresql_where=of_book, schema=SCHEMA)
    op.create_index("change_of_subject", "change", ["noun", "subject", sa.text("seq DESC")], schema=SCHEMA)
    op.create_index("change_by_time", "change", ["at"], postgresql_using="brin", schema=SCHEMA)


def _keep_history() -> None:
    """What was written stays as it was until it is removed for its age; who may do that is who may write rows at all."""
    op.execute(
        f"""
        CREATE FUNCTION {SCHEMA}.history_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'what was done is not rewritten';
        END $$
        """
    )
    for table in _KEPT:
        op.execute(
            f"CREATE TRIGGER {table}_is_kept BEFORE UPDATE ON {SCHEMA}.{table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.history_is_kept()"
        )
