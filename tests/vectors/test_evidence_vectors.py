"""Vectors made by others: RFC 6962, signed notes, tlog-tiles, Rekor, Wycheproof, our wire by Go."""

from __future__ import annotations

import base64
import json

from mrv.envelope import parse, render
from mrv.errors import WireError
from mrv.strict_json import loads
from mrv.verification.checkpoint import Checkpoint, parse_checkpoint
from mrv.verification.merkle import (
    Frontier,
    ProofError,
    Tree,
    entry_leaf_data,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from mrv.verification.note import (
    NoteError,
    PublicKey,
    SecretKey,
    identity,
    open_note,
    sign,
    split,
)


def rows(shared, name):
    path = shared / "reference" / "evidence" / name
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def load(shared, name):
    return json.loads((shared / "reference" / "evidence" / name).read_text())


def b64(text):
    return base64.b64decode(text or "")


def test_rfc6962_inclusion_proofs_get_the_published_verdicts(shared):
    cases = rows(shared, "rfc6962_inclusion.jsonl")
    assert len(cases) == 45
    for case in cases:
        try:
            verify_inclusion(
                b64(case["leafHash"]),
                case["leafIdx"],
                case["treeSize"],
                [b64(p) for p in case["proof"] or ()],
                b64(case["root"]),
            )
            holds = True
        except ProofError:
            holds = False
        assert holds != case["wantErr"], case["path"]


def test_rfc6962_consistency_proofs_get_the_published_verdicts(shared):
    cases = rows(shared, "rfc6962_consistency.jsonl")
    assert len(cases) == 48
    for case in cases:
        try:
            verify_consistency(
                case["size1"],
                case["size2"],
                [b64(p) for p in case["proof"] or ()],
                b64(case["root1"]),
                b64(case["root2"]),
            )
            holds = True
        except ProofError:
            holds = False
        assert holds != case["wantErr"], case["path"]


def test_published_signed_notes_are_opened_or_refused(shared):
    for case in load(shared, "signed_note.json"):
        note = case["note"].encode()
        if "expect_parse" in case:
            checkpoint = parse_checkpoint(split(note)[0])
            assert checkpoint.origin == case["expect_parse"]["origin"]
            assert checkpoint.size == case["expect_parse"]["size"]
            continue
        try:
            keys = [PublicKey.parse(vkey) for vkey in case["vkeys"]]
            open_note(note, keys)
            verdict = "ok"
        except NoteError as error:
            verdict = type(error).__name__
        assert (verdict == "ok") == (case["expect"] == "ok"), (case["name"], verdict)


def test_a_published_secret_key_signs_the_published_note_again(shared):
    signed = [case for case in load(shared, "signed_note.json") if case.get("test_skey")]
    assert signed
    for case in signed:
        key = SecretKey.parse(case["test_skey"])
        assert sign(split(case["note"].encode())[0], key) == case["note"].encode()


def test_wycheproof_ed25519_verdicts_agree(shared):
    count = 0
    for group in load(shared, "wycheproof_ed25519_test.json")["testGroups"]:
        key = PublicKey("wycheproof", bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            count += 1
            good = key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert good == (case["result"] == "valid"), case["tcId"]
    assert count == 82


def test_envelopes_made_by_go_are_accepted_and_reproduced_byte_for_byte(shared):
    wire = load(shared, "wire_by_go.json")
    key = SecretKey(wire["agent"]["name"], bytes.fromhex(wire["agent"]["seed"]))
    assert key.public.vkey == wire["agent"]["vkey"]
    prev = ""
    for case in wire["envelopes"]:
        note = case["note"].encode()
        text = open_note(note, [PublicKey.parse(wire["agent"]["vkey"])]).text
        envelope = parse(text)
        assert render(envelope) == text
        assert sign(text, key) == note
        assert identity(text) == case["identity"]
        assert envelope.prev == prev
        prev = case["identity"]


def test_leaves_roots_proof_and_checkpoint_made_by_go_agree(shared):
    wire = load(shared, "wire_by_go.json")
    tree, frontier = Tree(), Frontier()
    for case, root in zip(wire["entries"], wire["roots"], strict=True):
        data = entry_leaf_data(case["type"], bytes.fromhex(case["salt"]), b64(case["entry_base64"]))
        assert data.hex() == case["leaf_data"]
        assert leaf_hash(data).hex() == case["leaf_hash"]
        tree.append(leaf_hash(data))
        frontier.append(leaf_hash(data))
        assert tree.root().hex() == frontier.root().hex() == root
    proof = wire["inclusion"]
    path = tree.inclusion_proof(proof["index"], proof["size"])
    assert [node.hex() for node in path] == proof["proof"]
    note = wire["checkpoint_without_extension_lines"].encode()
    key = SecretKey(wire["site"]["name"], bytes.fromhex(wire["site"]["seed"]))
    checkpoint = Checkpoint(key.name, tree.size, tree.root())
    assert sign(checkpoint.text(), key) == note
    assert parse_checkpoint(split(note)[0]) == checkpoint


def test_real_rekor_proofs_hold(shared):
    cases = rows(shared, "rekor_inclusion_real.jsonl")
    assert len(cases) == 6
    for case in cases:
        verify_inclusion(
            b64(case["leafHash"]),
            case["leafIdx"],
            case["treeSize"],
            [b64(p) for p in case["proof"]],
            b64(case["root"]),
        )


def test_the_json_torture_set_is_refused_where_it_must_be_and_never_crashes(shared):
    cases = rows(shared, "json_malformed.jsonl")
    assert len(cases) > 100
    for case in cases:
        try:
            loads(b64(case["b64"]))
        except WireError:
            continue
        assert case["expect"] != "reject", case["name"]


def test_the_tlog_tiles_log_is_rebuilt_from_its_entries(shared):
    log = load(shared, "tlog_tiles_log.json")
    key = PublicKey.parse(log["vkey"])
    files = {name: b64(content) for name, content in log["files"].items()}
    names = sorted(
        (n for n in files if n.startswith("checkpoint.")), key=lambda n: int(n.split(".")[1])
    )
    entries = []
    for name in sorted(n for n in files if "entries" in n):
        bundle, data = [], files[name]
        while data:
            size = int.from_bytes(data[:2], "big")
            bundle.append(data[2 : 2 + size])
            data = data[2 + size :]
        entries = max(entries, bundle, key=len)
    assert len(names) > 1
    for name in names:
        checkpoint = parse_checkpoint(open_note(files[name], [key]).text)
        tree = Tree()
        for entry in entries[: checkpoint.size]:
            tree.append(leaf_hash(entry))
        assert tree.root() == checkpoint.root, name
