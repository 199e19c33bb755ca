"""assay keys status | rotate."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import RenderableType

from agents.keys import MASTER_VARIABLE, KeyStore
from infra.cli.output import DryRun, Json, emit, holds, plain, table
from infra.errors import AssayError, Exit
from infra.wiring import bootstrap, key_store, settings


def status(*, json: Json = False) -> Exit:
    """Open every key, and say how many there are, whose erasures are unfinished, and where the master key is.

    Where a broker runs, the log is read for erasures that the key store knows nothing of: an old copy of it was brought back.
    Exit code 1 where an erasure is unfinished or revived: `assay erase` of that author completes it.
    Example: assay keys status --json
    """
    keys = key_store(settings())
    found = keys.status() | {"revived": _revived(keys)}
    emit(found, json, _render)
    return holds(not found["unfinished_erasures"] and not found["revived"])


def _revived(keys: KeyStore) -> list[str] | None:
    """Authors that the log has as erased and the key store has not; None where no log is to be had."""
    from infra.erasure import erased_in_log

    try:
        brokers = bootstrap(settings())
    except AssayError:
        return None
    return sorted(name for name in asyncio.run(erased_in_log(brokers)) if not keys.is_erased(name))


def rotate(
    *,
    to: Annotated[Path | None, Parameter(help="File with the new master key, 32 bytes in base64; default: one is made.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Wrap every key with a new master key; the old one opens nothing from then on. Texts are not touched.

    Where the master key comes from the environment, write the new one to a file first, and put it into the environment of
    everything that runs afterwards. Copies of the old key store still open with the old master key.
    Example: openssl rand -base64 32 > new.key; assay keys rotate --to new.key
    """
    keys, new = key_store(settings()), None if to is None else to.read_text()
    given = settings().keys.master is not None
    if given and new is None:
        raise AssayError(f"the master key is in {MASTER_VARIABLE}, where nothing can be put", hint="--to FILE names the new one")
    before = keys.status()
    if not before["master_fingerprint"]:
        raise AssayError("there are no keys yet", where=before["path"], hint="the first text that comes in makes one")
    count = before["authors"] + before["edited_submissions"] if dry_run else keys.rotate(new)
    after = None if dry_run else keys.status()["master_fingerprint"]
    said = {"rewrapped": count, "old": before["master_fingerprint"], "new": after, "dry_run": dry_run}
    follow = f"; now set {MASTER_VARIABLE} to the new one, and restart what runs" if given else ""
    emit(said, json, lambda _: f"{count:,} keys {'would be ' if dry_run else ''}wrapped anew{follow}")


def _render(found: dict[str, Any]) -> RenderableType:
    unfinished = ", ".join(map(plain, found["unfinished_erasures"])) or "none"
    revived = "no log to compare with" if found["revived"] is None else ", ".join(map(plain, found["revived"])) or "none"
    return table(
        ("", ""),
        [
            ("store", found["path"]),
            ("master key", f"{found['master_key']} ({found['master_fingerprint'] or 'none yet'})"),
            ("keys", f"{found['authors']:,} of authors, {found['edited_submissions']:,} of edited submissions"),
            ("destroyed", f"{found['destroyed']:,}, of {found['erased_authors']:,} erased authors"),
            ("unfinished", unfinished),
            ("revived", revived),
        ],
    )
