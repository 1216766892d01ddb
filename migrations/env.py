"""How Alembic reaches the sample app's database: through the Flask app that `flask db` has made."""

from alembic import context
from flask import current_app

migrate = current_app.extensions["migrate"]


def include_object(thing, name, type_, reflected, compare_to):
    """Leave alone what is in the database but not ours."""
    return not (type_ == "table" and reflected and compare_to is None)


def run_offline():
    """Write the statements instead of running them (`flask db upgrade --sql`)."""
    url = migrate.db.engine.url.render_as_string(hide_password=False)
    context.configure(url=url, target_metadata=migrate.db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_online():
    """Run the statements."""
    with migrate.db.engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=migrate.db.metadata,
            include_object=include_object,
            **migrate.configure_args,
        )
        with context.begin_transaction():
            context.run_migrations()


run_offline() if context.is_offline_mode() else run_online()
