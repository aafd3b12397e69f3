"""Named queries: SQL is read by people who do not read Python, so it stands in files of its own.

A file under storage/sql/queries holds queries that each begin with ``-- name: <name>`` and a sentence saying what it
does. A test prepares every one of them on a migrated database and checks that each is used.
"""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def named_queries() -> dict[str, str]:
    """All queries by name. Raises: ValueError when a name is taken twice."""
    found: dict[str, str] = {}
    folder = files("greenroom.storage").joinpath("sql", "queries")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        parts = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"{file.name}: a query named {name} exists already")
            found[name] = text.strip()
    return found


def query(name: str) -> str:
    """The text of one query. Raises: KeyError for a name that no file declares."""
    return named_queries()[name]
