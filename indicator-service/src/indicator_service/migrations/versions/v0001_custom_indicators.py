"""Users' own indicators, and each version of what they compute."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "indicator"
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "custom_indicator",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="custom_indicator_pkey"),
        sa.UniqueConstraint("user_id", "tenant_id", "name", name="custom_indicator_owner_name_key"),
        schema=SCHEMA,
    )
    op.create_table(
        "custom_indicator_version",
        sa.Column("indicator_id", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("expression", sa.Text, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("indicator_id", "version", name="custom_indicator_version_pkey"),
        sa.ForeignKeyConstraint(
            ["indicator_id"],
            [f"{SCHEMA}.custom_indicator.id"],
            name="custom_indicator_version_indicator_id_fkey",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    for table in ("custom_indicator_version", "custom_indicator"):
        op.drop_table(table, schema=SCHEMA)
