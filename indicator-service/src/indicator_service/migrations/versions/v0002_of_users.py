"""A user's own indicators are theirs in whichever tenant they are: a name is one user's, and no row says of which tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "indicator"
_TABLE = "custom_indicator"
_KEY = "custom_indicator_owner_name_key"


def upgrade() -> None:
    op.drop_constraint(_KEY, _TABLE, schema=SCHEMA)
    # nobody could move to another tenant before this, so a user has a name once already
    op.create_unique_constraint(_KEY, _TABLE, ["user_id", "name"], schema=SCHEMA)
    op.drop_column(_TABLE, "tenant_id", schema=SCHEMA)


def downgrade() -> None:
    """In which tenant a user was is auth-service's to say: it has to be put in again before the code before this finds a row."""
    nobodys = sa.text("'00000000-0000-0000-0000-000000000000'")
    op.add_column(_TABLE, sa.Column("tenant_id", sa.Uuid, nullable=False, server_default=nobodys), schema=SCHEMA)
    op.alter_column(_TABLE, "tenant_id", server_default=None, schema=SCHEMA)
    op.drop_constraint(_KEY, _TABLE, schema=SCHEMA)
    op.create_unique_constraint(_KEY, _TABLE, ["user_id", "tenant_id", "name"], schema=SCHEMA)
