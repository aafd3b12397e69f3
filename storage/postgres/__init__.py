"""PostgreSQL: the embedded server, migrations, and the adapters that speak SQL."""
