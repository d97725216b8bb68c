"""Where the truth is kept: `truth` says what a database promises, `sqlite` and `postgres` keep the promise."""

from registry.database.truth import Truth


async def open_truth(database: str) -> Truth:
    """Opens the truth at `database`: the path of an SQLite file, or a postgresql:// URL. An absent one is made.

    Raises StoreError if it cannot be opened, ConfigError if the driver is not installed.
    """
    if database.startswith(("postgresql://", "postgres://")):
        from registry.database import postgres

        return await postgres.open_truth(database)
    from registry.database import sqlite

    return await sqlite.open_truth(database)
