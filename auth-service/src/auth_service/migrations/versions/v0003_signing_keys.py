"""The ring of signing keys. Its first key has signed since ever: what it signed before stays valid."""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "auth"
FIRST = UUID(int=0)
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    ring = op.create_table(
        "signing_key",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("signs_from", _time, nullable=False),
        sa.Column("verify_until", _time, nullable=True),
        sa.PrimaryKeyConstraint("id", name="signing_key_pkey"),
        schema=SCHEMA,
    )
    op.bulk_insert(ring, [{"id": FIRST, "signs_from": datetime.fromtimestamp(0, UTC), "verify_until": None}])


def downgrade() -> None:
    op.drop_table("signing_key", schema=SCHEMA)
