"""The queue in a PostgreSQL database."""
