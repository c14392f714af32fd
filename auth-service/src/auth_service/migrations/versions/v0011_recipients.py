"""Invitations are counted by the mailbox they go to, of all tenants."""

from alembic import op

from auth_service.adapters.isolation import definer

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TO = "invitations_to(of_mailbox text, since timestamptz)"
# the lock first, in a statement of its own: the next one sees what whoever held it has committed
_BODY = """
    SELECT pg_advisory_xact_lock(hashtextextended(of_mailbox, x'696e7669746573'::bigint));
    SELECT t.tenant_id = NULLIF(current_setting('kalpi.tenant', true), '')::uuid, t.created_at FROM auth.one_time_token t
    WHERE t.mailbox = of_mailbox AND t.created_at > since
"""


def upgrade() -> None:
    # those that are there count for no mailbox: a day later they would not any more
    op.execute("ALTER TABLE auth.one_time_token ADD COLUMN mailbox text")
    op.execute("CREATE INDEX one_time_token_to_mailbox ON auth.one_time_token (mailbox, created_at) WHERE mailbox IS NOT NULL")
    for statement in definer(f"auth.{_TO}", "TABLE (ours boolean, created_at timestamptz)", _BODY, volatility="VOLATILE"):
        op.execute(statement)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION auth.{_TO}")
    op.execute("DROP INDEX auth.one_time_token_to_mailbox")
    op.execute("ALTER TABLE auth.one_time_token DROP COLUMN mailbox")
