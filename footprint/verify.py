"""Verifies an evidence bundle and recomputes its footprint: `python -m footprint.verify x.zip`.

Needs `mrv`, `footprint` and `cryptography`, no network, no database. Each check has a name and
says what was expected and what was found; exit status 0 only where every check passes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from footprint import fact_checks, key_checks, reading_checks
from footprint.opened_bundle import NotCheckable, OpenedBundle
from footprint.registry import BODY_FAULTS
from footprint.verdict import CHECKS, FAIL, NOT_CHECKABLE, PASS, Check, Verdict, render
from mrv.errors import EvidenceError, InputError, MeterprintError
from mrv.verification.container import MAX_BUNDLE_BYTES, ContainerError, read
from mrv.verification.note import PublicKey

Step = Callable[[OpenedBundle], str]
"""A check: returns what was found, raises MeterprintError where it fails."""

STEPS: tuple[tuple[str, Step], ...] = (
    ("manifest", fact_checks.manifest),
    ("registry_chain", fact_checks.registry_chain),
    ("trust", fact_checks.trusted),
    ("manifest_signature", fact_checks.manifest_signature),
    ("checkpoint", fact_checks.read_checkpoint),
    ("registry_complete", fact_checks.registry_complete),
    ("production_chains", fact_checks.production_chains),
    ("production_complete", fact_checks.production_complete),
    ("stream_heads", fact_checks.stream_heads),
    ("channel_tables", reading_checks.channel_tables),
    ("envelope_signatures", reading_checks.envelope_signatures),
    ("inclusion", reading_checks.inclusion),
    ("keys_in_force", key_checks.keys_in_force),
    ("envelope_chains", reading_checks.envelope_chains),
    ("pool_keys", fact_checks.pool_keys),
    ("completeness", reading_checks.completeness),
    ("recompute", reading_checks.recompute),
    ("digest", reading_checks.digest),
)
"""The checks of an opened bundle, in their order."""
FATAL = frozenset({"manifest", "registry_chain", "checkpoint", "production_chains"})
"""Checks without which the later ones mean nothing."""


UNREADABLE = (*BODY_FAULTS, AssertionError, LookupError)
"""What content that somebody made up may raise where no check expects it: a failed check."""


def _check(opened: OpenedBundle, name: str, step: Step) -> bool:
    """Run one check and enter its outcome; whether it passed."""
    checks = opened.verdict.checks
    try:
        actual = step(opened)
    except NotCheckable as error:
        checks.append(Check(name, NOT_CHECKABLE, CHECKS[name], str(error)))
        return True
    except MeterprintError as error:
        file = getattr(error, "file", "") or ""
        expected = getattr(error, "expected", "") or CHECKS[name]
        checks.append(Check(name, FAIL, expected, str(error), file))
        return False
    except UNREADABLE as error:
        seen = f"cannot be read: {type(error).__name__} {error}"[:200]
        checks.append(Check(name, FAIL, CHECKS[name], seen))
        return False
    checks.append(Check(name, PASS, CHECKS[name], actual))
    return True


def _run(opened: OpenedBundle) -> None:
    for name, step in STEPS:
        if name == "trust" and opened.trust is None:
            why = "no trusted key was named: --trust KEY"
            opened.verdict.checks.append(Check(name, NOT_CHECKABLE, CHECKS[name], why))
        elif not _check(opened, name, step) and name in FATAL:
            return


def verify(data: bytes, trust: PublicKey | None = None) -> Verdict:
    """Check a bundle. Never raises for bad bytes: what is wrong is in the verdict."""
    opened = OpenedBundle(trust)
    verdict = opened.verdict

    def container(opened: OpenedBundle) -> str:
        opened.files = read(data)
        return f"{len(opened.files)} files"

    if _check(opened, "container", container):
        _run(opened)
    done = {check.id for check in verdict.checks}
    for name, meaning in CHECKS.items():
        if name not in done:
            verdict.checks.append(Check(name, NOT_CHECKABLE, meaning, "an earlier check failed"))
    order = list(CHECKS)
    verdict.checks.sort(key=lambda check: order.index(check.id))
    return verdict


def read_trust(text: str) -> PublicKey:
    """The key named by `--trust`: a vkey, or a file that holds one. Raises InputError."""
    try:
        return PublicKey.parse(text)
    except EvidenceError:
        path = Path(text)
    try:
        lines = path.read_text().split()
        return PublicKey.parse(lines[0])
    except (OSError, IndexError, UnicodeDecodeError, EvidenceError) as error:
        raise InputError(
            "a secret key is none to trust"
            if text.startswith("PRIVATE")
            else f"neither a key nor a file with one: {text[:80]}",
            hint="ask the site for the line `meterprint keys show` prints",
        ) from error


def _bytes_of(path: Path) -> bytes:
    """Bytes of a file. Raises InputError where it is larger than any bundle, before reading it."""
    if path.is_file() and path.stat().st_size > MAX_BUNDLE_BYTES:
        raise InputError(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes", file=str(path))
    return path.read_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Command line: 0 every check passed, 1 one did not, 2 the call is wrong."""
    parser = argparse.ArgumentParser(prog="python -m footprint.verify", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trust", default="", help="the site's root key (vkey or file)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        trust = read_trust(options.trust) if options.trust else None
        data = _bytes_of(options.bundle)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    verdict = verify(data, trust)
    encoding = sys.stdout.encoding or "utf-8"
    plain = encoding.lower().replace("-", "") != "utf8"
    if options.json:
        text = json.dumps(verdict.to_json(), ensure_ascii=plain)
    else:
        text = render(verdict)
        if plain:  # a console without Chinese gets escapes, never a crash
            text = text.encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(text + "\n")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["CHECKS", "Check", "ContainerError", "Verdict", "main", "read_trust", "render", "verify"]
