"""The tables of real programs: coded.toml, whose cases are functions here, and scripts.toml."""

import os
import subprocess
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
# The tables, and the level of a row that names none: as in rows.toml.
TABLES = {"coded.toml": "default", "scripts.toml": "full"}
KEYS = {"name", "program", "packages", "what", "level", "modes", "timeout", "serial", "script", "files", "user",
        "env", "ignore", "says", "cannot"}


def rows(name):
    with open(os.path.join(HERE, name), "rb") as f:
        out = tomllib.load(f)["row"]
    for row in out:
        if set(row) - KEYS or not {"name", "packages", "what"} <= set(row):
            raise SystemExit(f"{name}: row {row.get('name')}: bad keys {sorted(set(row) - KEYS)}, "
                             "or name, packages, what missing")
    return out


def packages(levels):
    """What the rows of these levels need, each once."""
    return sorted({p for name, usual in TABLES.items() for row in rows(name)
                   if row.get("level", usual) in levels for p in row["packages"]})


def versions(names):
    """The versions of Debian packages; None for one that is not installed."""
    out = {}
    for name in names:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name],
                              capture_output=True, text=True)
        status, _, version = done.stdout.partition(" ")
        out[name] = version if status == "installed" else None
    return out
