"""How often a session is refreshed is counted in its row, which is the lock of its family."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session", sa.Column("refresh_due_at", sa.DateTime(timezone=True), nullable=True), schema="auth")


def downgrade() -> None:
    op.drop_column("session", "refresh_due_at", schema="auth")
