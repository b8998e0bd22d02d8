"""Alembic's entry: runs the migrations on the connection that `tesgw.store.database` passes in."""

from alembic import context

from tesgw.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
