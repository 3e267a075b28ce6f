"""Commands on evidence: keys, bundle, verify, journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterprint.output import (
    DEFAULT_STATE,
    JsonOption,
    Progress,
    StateOption,
    emit,
    parse_moment,
)
from mrv.errors import InputError

if TYPE_CHECKING:
    from ingest.journal_check import Fault

keys = typer.Typer(help="Keys of the site. / 密钥。", no_args_is_help=True)
journal = typer.Typer(help="The journal. / 账本。", no_args_is_help=True)


@keys.command("show")
def show_keys(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """Print the site's root key, which a verifier trusts. / 显示站点根公钥。"""
    from meterprint.site import open_site

    site = open_site(state)
    ring, root = site.keyring, site.root.vkey
    site.close()
    if json:
        emit(
            {
                "site": ring.site,
                "root": root,
                "facts": ring.facts.public.vkey,
                "receipts": ring.receipts.public.vkey,
                "checkpoints": ring.checkpoints.public.vkey,
            }
        )
    else:
        typer.echo(root)


def bundle(
    name: Annotated[str, typer.Argument(metavar="BATCH", help="name of the batch")],
    output: Annotated[Path, typer.Option("-o", "--output", help="file to write / 输出文件")],
    open_pool: Annotated[
        bool,
        typer.Option(
            "--open-pool", help="show the events of batches that share its pools / 公开分摊批次"
        ),
    ] = False,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Write the evidence bundle of a batch. / 生成证据包。"""
    from ingest.bundler import make_bundle
    from meterprint.site import open_site

    site = open_site(state)
    try:
        site.engine.settle()
        data = make_bundle(
            site.journal, site.keyring, site.engine.engine, name, open_pool=open_pool
        )
    finally:
        site.close()
    try:
        output.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(output)) from error
    if json:
        emit({"batch": name, "file": str(output), "bytes": len(data)})
    else:
        typer.echo(f"{output}: {len(data)} bytes")


def verify(
    file: Annotated[Path, typer.Argument(metavar="BUNDLE", help="zip file of `bundle`")],
    trust: Annotated[str, typer.Option(help="root key: vkey or file / 受信根公钥")] = "",
    json: JsonOption = False,
) -> None:
    """Verify a bundle and recompute its footprint, offline. / 离线验证证据包并重算。"""
    from footprint.verify import main

    arguments = [str(file), *(["--trust", trust] if trust else []), *(["--json"] if json else [])]
    raise typer.Exit(main(arguments))


@journal.command("check")
def check_journal(state: StateOption = DEFAULT_STATE, json: JsonOption = False) -> None:
    """Recompute every entry, cold file and table of the journal. / 校验账本。"""
    from ingest.journal import JournalError
    from ingest.journal_check import Fault
    from meterprint.site import open_journal

    try:
        opened = open_journal(state)
    except JournalError as error:
        faults = [Fault(str(error))]
        answer: dict[str, object] = {"entries": None, "root": None, "cold_files": None}
        _say_faults(answer, faults, json)
        raise typer.Exit(1) from error
    try:
        with Progress({"blocks": "blocks / 区块"}).shown() as progress:
            faults = opened.faults(lambda done, total: progress("blocks", done, total))
        answer = {
            "entries": opened.size,
            "root": opened.root().hex(),
            "cold_files": len(opened.parts()),
        }
    finally:
        opened.close()
    _say_faults(answer, faults, json)
    if faults:
        raise typer.Exit(1)


def _say_faults(answer: dict[str, object], faults: list[Fault], json: bool) -> None:
    from dataclasses import asdict

    if json:
        located = [asdict(fault) for fault in faults]
        emit({**answer, "faults": [str(fault) for fault in faults], "located": located})
        return
    if answer["root"] is not None:
        typer.echo(f"{answer['entries']} entries, root {answer['root']}")
    for fault in faults:
        typer.echo(f"FAULT {fault}")


@journal.command("rotate")
def rotate_journal(
    keep: Annotated[
        int, typer.Option(min=0, help="newest entries that stay in the database / 保留的最新条目数")
    ] = 65_536,
    state: StateOption = DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Seal old entries into compressed, verified cold files. / 将旧条目封存为冷文件。"""
    from dataclasses import asdict

    from ingest.rotation import rotate
    from meterprint.site import open_journal

    opened = open_journal(state)
    try:
        with Progress({"blocks": "blocks / 区块"}).shown() as progress:
            done = rotate(
                opened,
                keep,
                whole_parts=False,
                progress=lambda at, total: progress("blocks", at, total),
            )
    finally:
        opened.close()
    if json:
        emit({**asdict(done), "folder": str(opened.cold_folder)})
        return
    typer.echo(f"{done.entries} entries sealed in {done.parts} files in {opened.cold_folder}")
    if done.entries:
        typer.echo(f"{done.bytes_before / 1e6:.1f} MB became {done.bytes_after / 1e6:.1f} MB")


@journal.command("checkpoint")
def show_checkpoint(state: StateOption = DEFAULT_STATE) -> None:
    """Print a signed checkpoint. / 输出检查点。"""
    from meterprint.site import open_site

    site = open_site(state)
    try:
        note = site.journal.checkpoint()
    finally:
        site.close()
    typer.echo(note.decode(), nl=False)


@journal.command("close-chain")
def close_chain(
    agent: Annotated[str, typer.Argument(help="agent that is silent")],
    stream: Annotated[str, typer.Argument(help="its stream")],
    start: Annotated[str, typer.Option("--from", help="ISO 8601 with zone")],
    end: Annotated[str, typer.Option("--to", help="ISO 8601 with zone")],
    reason: Annotated[str, typer.Option(help="why nothing more will come / 原因")],
    author: Annotated[str, typer.Option(help="who says so / 责任人")] = "cli",
    state: StateOption = DEFAULT_STATE,
) -> None:
    """State that nothing more will come of a stretch of a stream. / 声明数据流某段不再补传。"""
    from meterprint.site import open_site
    from mrv.fact import REGISTRY

    first, last = parse_moment(start, "--from"), parse_moment(end, "--to")
    if last <= first:
        raise InputError("the end lies before the start", field="--to")
    site = open_site(state)
    try:
        body = {"agent": agent, "stream": stream, "reason": reason}
        fact = site.facts.record(
            REGISTRY,
            "chain_closed",
            f"{agent}/{stream}",
            body,
            author=author,
            valid_from=first,
            valid_to=last,
        )
    finally:
        site.close()
    typer.echo(f"registry#{fact.header.seq} chain_closed {agent}/{stream}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(keys, name="keys")
    app.add_typer(journal, name="journal")
    app.command()(bundle)
    app.command()(verify)
