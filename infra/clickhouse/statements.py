"""What the gateway lets through: one statement, on the store's own tables, and nothing that reaches outside.

The engine's own parser rewrites a statement first (`formatQuery`: comments gone, quotes in one style, keywords upper
case, several statements refused). That text is judged, and that text is what runs. Read-only is the engine's own
`readonly = 1`; these rules stop what that leaves open: OUTFILE, INFILE, `file()` as an expression, DESCRIBE of a file.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

#: Table functions that stay inside. Every other one that the engine knows is refused, so a new one is, too.
INSIDE = frozenset(
    {"format", "generaterandom", "generateseries", "generate_series", "input", "merge", "null", "numbers", "numbers_mt"}
    | {"primes", "values", "view", "viewifpermitted", "zeros", "zeros_mt"}
)
#: Not in `system.table_functions`, and they reach files or disks all the same.
OUTSIDE = frozenset({"file", "disk", "python", "catboostevaluate", "structuretocapnprotoschema", "structuretoprotobufschema"})

READS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "(", "CHECK"})
WRITES = frozenset({"INSERT", "CREATE", "ALTER", "DROP", "OPTIMIZE", "TRUNCATE", "RENAME", "EXCHANGE", "DELETE", "UPDATE"})
_CREATES = frozenset({"TABLE", "VIEW", "MATERIALIZED", "DATABASE", "OR", "TEMPORARY"})
_FORBIDDEN = frozenset(
    {"OUTFILE", "INFILE", "DICTIONARY", "FREEZE", "FETCH", "ATTACH", "BACKUP", "RESTORE", "DISK", "VOLUME", "PARALLEL"}
)
_ENGINES = re.compile(r"(\w*MergeTree|Memory|Null|Log|TinyLog|StripeLog|Set|Join|Buffer|View|MaterializedView|Atomic|KeeperMap)")

#: Settings whose value is a file or an address: with them a mere format reads files, or writes them.
OUTWARD_SETTING = re.compile(
    r"(output_)?format_schema\w*|format_template\w*|\w*_file_path|dynamic_disk\w*|\w*_url|url_base|\w*zookeeper\w*|ai_\w+"
)

_TOKEN = re.compile(
    r"""
    (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\d[\w.]*)
  | (?P<other>\S)
    """,
    re.VERBOSE | re.DOTALL,
)


class Refused(Exception):
    """The statement may not run here; `code` is ClickHouse's own for such a refusal."""

    def __init__(self, reason: str, code: int = 164, name: str = "READONLY") -> None:
        super().__init__(reason)
        self.code = code
        self.name = name


@dataclass(frozen=True)
class Token:
    kind: str
    text: str

    @property
    def name(self) -> str | None:
        """The identifier that this is, quoted or not."""
        if self.kind == "word":
            return self.text
        if self.kind == "quoted":
            return re.sub(r"\\(.)", r"\1", self.text[1:-1])
        return None


def tokens(statement: str) -> list[Token]:
    return [Token(match.lastgroup or "other", match.group()) for match in _TOKEN.finditer(statement)]


def reads(statement: str) -> bool:
    """Whether a statement that passed `check` only reads, and so has a result."""
    return tokens(statement)[0].text.upper() in READS


def denied(table_functions: frozenset[str]) -> frozenset[str]:
    """Functions that must not be called, lower case, given the engine's own list."""
    return (frozenset(name.lower() for name in table_functions) - INSIDE) | OUTSIDE


def check(statement: str, may_write: bool, forbidden_functions: frozenset[str]) -> None:
    """Raise Refused unless this statement, as the engine's formatter wrote it, may run."""
    found = tokens(statement)
    if not found:
        raise Refused("Empty query", 62, "SYNTAX_ERROR")
    _check_kind(found, may_write)
    _check_settings(found)
    for place, token in enumerate(found):
        following = found[place + 1] if place + 1 < len(found) else Token("other", "")
        _check_token(token, following, forbidden_functions)
        _check_engine(token, found[place + 1 : place + 3])
        if may_write and token.kind in ("word", "quoted") and token.name == "default" and following.text == ".":
            # chDB's database `default` reads a quoted name as the path of a file.
            raise Refused("The database `default` is not served; use `assay`", 291, "DATABASE_ACCESS_DENIED")


def _check_kind(found: list[Token], may_write: bool) -> None:
    first = found[0].text.upper()
    if first in READS:
        return
    if first not in WRITES:
        raise Refused(f"{first} is not served here")
    if not may_write:
        raise Refused(f"{first} needs the write token: Cannot execute query in readonly mode.")
    second = found[1].text.upper() if len(found) > 1 else ""
    if first == "CREATE" and second not in _CREATES:
        raise Refused(f"CREATE {second} is not served here")
    if first == "ALTER" and second != "TABLE":
        raise Refused(f"ALTER {second} is not served here")


def _check_token(token: Token, following: Token, forbidden_functions: frozenset[str]) -> None:
    name = token.name
    if name is None:
        return
    if following.text == "(" and name.lower() in forbidden_functions:
        raise Refused(f"The function {name}() reaches outside of the store and is not served here", 291, "DATABASE_ACCESS_DENIED")
    if token.kind == "word" and token.text in _FORBIDDEN:
        raise Refused(f"{token.text} reaches outside of the store and is not served here", 291, "DATABASE_ACCESS_DENIED")


def _check_settings(found: list[Token]) -> None:
    clause = False
    for token, following in pairwise(found):
        clause = clause or token.text == "SETTINGS"
        if clause and following.text == "=" and OUTWARD_SETTING.fullmatch(token.name or ""):
            reason = f"The setting {token.name} reaches outside of the store and is not served here"
            raise Refused(reason, 291, "DATABASE_ACCESS_DENIED")


def _check_engine(token: Token, following: list[Token]) -> None:
    if token.kind == "word" and token.text == "ENGINE" and len(following) == 2 and following[0].text == "=":
        engine = following[1].name or ""
        if not _ENGINES.fullmatch(engine):
            raise Refused(f"The engine {engine} reaches outside of the store", 291, "DATABASE_ACCESS_DENIED")


# --- inserts carry data ------------------------------------------------------------------------

_INSERT = re.compile(rb"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*insert\b", re.IGNORECASE | re.DOTALL)
_DATA = re.compile(rb"\b(?:format\s+(?!values\b)(\w+)[ \t]*(?:\r?\n|[ \t]|$)|(?:format\s+)?values\b)", re.IGNORECASE)
_HEAD_BYTES = 64 << 10


@dataclass(frozen=True)
class Insert:
    """An INSERT that brings its data: the head up to the format, the format, and the data behind it."""

    head: str
    format: str
    data: bytes


def insert_with_data(statement: bytes) -> Insert | None:
    """The parts of an INSERT with data, or None for any other statement (an INSERT ... SELECT among them).

    A wrong cut cannot smuggle: the head is parsed, judged and run on its own, and the rest is only ever data.
    """
    if not _INSERT.match(statement):
        return None
    found = _DATA.search(statement, 0, _HEAD_BYTES)
    if not found:
        return None
    head = statement[: found.start()].decode("utf-8", "replace")
    if any(token.text.upper() in ("SELECT", "WITH") for token in tokens(head) if token.kind == "word"):
        return None
    return Insert(head, found[1].decode() if found[1] else "Values", statement[found.end() :])
