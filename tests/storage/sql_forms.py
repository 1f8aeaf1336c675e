"""The forms that statements keep so that the schema can be distributed by tenant: rules on the text of SQL.

They hold on any PostgreSQL, where they cost nothing. On a database whose rows are on several nodes a statement that
breaks one fails, or reaches rows that it must not.
"""

import re
from collections.abc import Iterator

OF_NO_TENANT = {"tenants", "prices", "price_aliases", "write_probes"}
_WRITE = re.compile(r"(?<!for )(?<!do )\b(insert into|update|delete from)\s+(?:only )?([\w%$]+)")
_VOLATILE = re.compile(r"\b(now|clock_timestamp|statement_timestamp|random|gen_random_uuid)\s*\(")
_NAMED_CTE = re.compile(r"(?:\bwith(?: recursive)?|\),)\s+\w+ \([\w\s,]+\) as (?:materialized )?\(")
# The clock is read where the lock is granted: the instant of a batch is that of its place in the order.
_LOCK = "greatest(booked_at, clock_timestamp())"


def faults(statement: str) -> list[str]:
    """Return what is wrong with a statement, or with the source of a function."""
    text = " ".join(statement.lower().replace("ledger.booked_at", "booked_at").split())
    found = []
    if "set_config('app." in text:
        found.append("set_config instead of set local")
    if re.search(r"\bpublic\b", text):
        found.append("a schema by name")
    if re.search(r"\bctid\b|_relation_size|_table_size", text):
        found.append("a walk by blocks")
    if _NAMED_CTE.search(text):
        found.append("columns named beside a common table expression")
    for verb, table, part in writes(text):
        if "tenant_id" not in part and table not in OF_NO_TENANT:
            found.append(f"{verb} {table} without tenant_id")
        if verb == "insert into" and "select" in part and not re.search(r"\breturning\b|\bon conflict\b", part):
            found.append(f"insert into {table} from a query with neither returning nor on conflict")
        if verb == "update" and _VOLATILE.search(part.replace(_LOCK, "")):
            found.append(f"update {table} with a volatile function")
    return found


def writes(statement: str) -> Iterator[tuple[str, str, str]]:
    """Yield the verb, table and text of every part of a statement that writes; parts may lie within others."""
    text = " ".join(statement.lower().split())
    for found in _WRITE.finditer(text):
        if found[1] == "update" and found[2] in ("set", "skip"):
            continue
        yield found[1], found[2], text[found.start() : _end(text, found.end())]


def _end(text: str, at: int) -> int:
    depth = 0
    for place in range(at, len(text)):
        if text[place] == ";" and not depth:
            return place
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth < 0:
            return place
    return len(text)


def source(body: str) -> str:
    """Return the source of a function with the statements that it puts together from pieces as plain text."""
    return re.sub(r"'\s+'", " ", re.sub(r"--[^\n]*", "", body)).replace("''", "'")
