"""What Alembic runs for every command; `ratelimit_service.migrate` has opened the connection and taken the lock."""

from alembic import context

from ratelimit_service.adapters.tables import SCHEMA
from ratelimit_service.adapters.usage_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_schemas=True,
    version_table_schema=SCHEMA,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
