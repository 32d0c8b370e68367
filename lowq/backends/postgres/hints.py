"""What to do where a PostgreSQL server, or the way to it, refuses a connection."""

from __future__ import annotations

HINTS = {
    "pg_hba.conf": "; an administrator must let this user in from here: pg_hba.conf",
    "certificate verify failed": "; where it is right, name the file of its authority: ?sslrootcert=/etc/ca.pem",
    "does not match host name": "; name the host as the certificate does, or say ?sslmode=verify-ca",
    "server does not support SSL": "; an administrator must turn TLS on there, or leave sslmode out",
    "password": "; give the right one: postgresql://user:password@…, PGPASSWORD, or a line in ~/.pgpass",
    "not permitted to log in": "; name another user: postgresql://user@…",
    "role ": "; name another user: postgresql://user@…",
    "not currently accepting": "; name another one, or let an administrator allow it: ALLOW_CONNECTIONS true",
    "database ": "; name another one, or let an administrator make it: CREATE DATABASE",
    **dict.fromkeys(
        ("SSL negotiation", "expected authentication request"),
        "; something else than PostgreSQL seems to answer there: name its host and port",
    ),
}
"""What to do where the server says this; the first counts, since a refusal names the user and the database, too."""

NOT_LET_IN = ("not permitted to log in", "pg_hba.conf")
"""What it says where the user has no right to come in at all."""
