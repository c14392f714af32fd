"""Whom a credential stands for is told with their role in the tenant, where they are its owner or an admin."""

from alembic import op

from auth_service.adapters.isolation import definer

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ROLE = "tenant_role_of(of_user uuid)"
_BODY = "SELECT CASE WHEN u.tenant_role <> 'member' THEN u.tenant_role END FROM auth.user_account u WHERE u.id = of_user"


def upgrade() -> None:
    for statement in definer(f"auth.{_ROLE}", "text", _BODY):
        op.execute(statement)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION auth.{_ROLE}")
