"""What somebody may hand a verifier: broken, hostile or made-up containers. A verdict, never a crash."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from footprint.bundle import MANIFEST, BundleFiles
from footprint.verify import main, verify
from mrv.verification.container import read, write
from mrv.verification.note import SecretKey, sign
from tests.conftest import REPO
from tests.path.test_bundles import bundle_of, certificate, shared_site

MUTATIONS = int(os.environ.get("METERPRINT_BUNDLE_MUTATIONS", "150"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    site = shared_site(tmp_path_factory.mktemp("site"))
    certificate(site, "C-1")
    data = bundle_of(site)
    keyring = site.site.keyring
    site.close()
    return data, keyring


def judged(data, key=None):
    """The verdict, which must exist; the first check that failed."""
    verdict = verify(data, key)
    failed = [check for check in verdict.checks if check.result == "fail"]
    assert not verdict.ok
    assert len(verdict.checks) >= 8
    return verdict, failed[0] if failed else None


def zipped(members, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"not a zip", b"PK\x05\x06" + bytes(18), os.urandom(4096), b"\x00" * 10**6],
    ids=["empty", "short", "text", "no member", "noise", "zeros"],
)
def test_bytes_that_are_no_bundle_are_a_named_failure(data):
    verdict, first = judged(data)
    assert first.id in ("container", "manifest")
    assert {c.id for c in verdict.checks if c.result == "pass"} <= {"container"}


def test_every_truncation_of_a_bundle_is_a_named_failure(bundle):
    data, keyring = bundle
    for size in range(0, len(data), max(len(data) // 60, 1)):
        assert judged(data[:size], keyring.root.public)[1].id == "container"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("../../etc/passwd", b"x")], "not a file name"),
        ([("/etc/passwd", b"x")], "not a file name"),
        ([("a\\..\\b", b"x")], "not a file name"),
        ([("a/./b", b"x")], "not a file name"),
        ([("a//b", b"x")], "not a file name"),
        ([("a", b"x"), ("a", b"y")], "stands twice"),
        ([("folder/", b"")], "not a file name"),
    ],
)
def test_names_that_lead_astray_are_refused_by_name(members, says):
    first = judged(zipped(members))[1]
    assert first.id == "container"
    assert says in first.actual


def test_a_zip_bomb_is_refused_without_unpacking_it():
    bomb = zipped([("bomb", b"\x00" * 50_000_000)], compression=zipfile.ZIP_DEFLATED)
    first = judged(bomb)[1]
    assert (first.id, first.file) == ("container", "bomb")
    assert "not stored as it is" in first.actual


def central(name, size, offset):
    """A member's entry in the directory of a zip (APPNOTE 4.3.12)."""
    head = (b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, size, size, len(name), 0, 0, 0, 0, 0, offset)
    return struct.pack("<4s6H3L5H2L", *head) + name


def local(name, size):
    """A member's header at its place (APPNOTE 4.3.7)."""
    return (
        struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, size, size, len(name), 0) + name
    )


def with_directory(body, entries):
    directory = b"".join(entries)
    count = len(entries)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end


def test_many_names_for_one_place_are_refused():
    """A bomb that needs no compression: each name would copy the same bytes."""
    body = local(b"00000", 200_000) + b"\x07" * 200_000
    entries = [central(f"{i:05d}".encode(), 200_000, 0) for i in range(5_000)]
    first = judged(with_directory(body, entries))[1]
    assert (first.id, first.file) == ("container", "00001")
    assert "under another name" in first.actual


def test_members_inside_members_are_refused():
    count, size = 2_000, 35
    body = b"".join(local(f"{i:05d}".encode(), size * (count - i - 1)) for i in range(count))
    entries = [central(f"{i:05d}".encode(), size * (count - i - 1), size * i) for i in range(count)]
    first = judged(with_directory(body, entries))[1]
    assert first.id == "container"
    assert "overlaps others" in first.actual


def test_a_member_that_claims_more_than_there_is_is_cut_off(bundle):
    data, _ = bundle
    at = data.rindex(b"PK\x01\x02")
    lame = data[: at + 20] + struct.pack("<2L", 2**31, 2**31) + data[at + 28 :]
    assert judged(lame)[1].id == "container"


def resigned(files, keyring):
    held = BundleFiles({k: v for k, v in files.items() if k != MANIFEST})
    text = held.manifest("small.example", "mine")
    return write({**held.files, MANIFEST: sign(text, keyring.checkpoints)})


def test_whatever_the_site_itself_puts_into_a_bundle_gets_a_verdict(bundle):
    """Values changed at random and signed again: a verdict each time, and no figure but the true."""
    data, keyring = bundle
    files = read(data)
    true = verify(data, keyring.root.public).result.to_json()
    draw = random.Random(20261125)

    def mutated(value):
        if isinstance(value, dict) and value and draw.random() < 0.85:
            name = draw.choice(list(value))
            if draw.random() < 0.15:
                return {k: v for k, v in value.items() if k != name}
            return {**value, name: mutated(value[name])}
        if isinstance(value, list) and value and draw.random() < 0.85:
            place = draw.randrange(len(value))
            return [*value[:place], mutated(value[place]), *value[place + 1 :]]
        if isinstance(value, str) and value and draw.random() < 0.4:
            place = draw.randrange(len(value))
            return value[:place] + draw.choice('0aZ\n,"') + value[place + 1 :]
        return draw.choice([None, 0, -1, 2**70, "", "x", [], {}, True, [[]], "9" * 30, {"a": 1}])

    for _ in range(MUTATIONS):
        name = draw.choice([name for name in files if name != MANIFEST])
        if name.endswith(".json"):
            content = json.dumps(mutated(json.loads(files[name])), ensure_ascii=False).encode()
        elif name.endswith(".jsonl"):
            lines = files[name].splitlines()
            place = draw.randrange(len(lines))
            lines[place] = json.dumps(mutated(json.loads(lines[place]))).encode()
            content = b"\n".join(lines)
        else:
            text = bytearray(files[name])
            text[draw.randrange(len(text))] = draw.randrange(256)
            content = bytes(text)
        verdict = verify(resigned({**files, name: content + b"\n"}, keyring), keyring.root.public)
        if verdict.ok:
            assert verdict.result.to_json() == true


def test_a_bundle_rebuilt_whole_with_other_keys_holds_in_itself_and_fails_on_trust(
    bundle, tmp_path
):
    other = shared_site(tmp_path)
    data = bundle_of(other)
    _, keyring = bundle
    results = {c.id: c.result for c in verify(data, keyring.root.public).checks}
    other.close()
    assert results.pop("trust") == "fail"
    assert set(results.values()) == {"pass", "not_checkable"}
    assert [name for name, result in results.items() if result != "pass"] == ["pool_keys"]


def test_without_a_trusted_key_the_exit_status_is_one_and_origin_is_not_checkable(
    bundle, tmp_path, capsys
):
    data, keyring = bundle
    file = tmp_path / "x.zip"
    file.write_bytes(data)
    assert main([str(file), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert {c["id"]: c["result"] for c in answer["checks"]}["trust"] == "not_checkable"
    assert main([str(file), "--json", "--trust", keyring.root.public.vkey]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    named = tmp_path / "root.key"
    named.write_text(keyring.root.public.vkey + "\n")
    assert main([str(file), "--json", "--trust", str(named)]) == 0
    capsys.readouterr()


def test_a_call_that_is_wrong_says_so_with_status_two(bundle, tmp_path, capsys):
    data, keyring = bundle
    file = tmp_path / "x.zip"
    file.write_bytes(data)
    assert main([str(tmp_path / "none.zip")]) == 2
    assert main([str(tmp_path)]) == 2
    assert main([str(file), "--trust", "no such key"]) == 2
    assert main([str(file), "--trust", str(file)]) == 2
    assert "neither a key nor a file" in capsys.readouterr().err
    assert main([str(file), "--trust", SecretKey.generate("x").skey]) == 2
    assert "PRIVATE" not in capsys.readouterr().err
    assert keyring.root.public.vkey


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "utf-8"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_console_of_any_encoding_shows_the_verdict(bundle, tmp_path, encoding, options):
    data, keyring = bundle
    file = tmp_path / "x.zip"
    file.write_bytes(data)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "footprint.verify", str(file), *options),
            *("--trust", keyring.root.public.vkey),
        ],
        cwd=REPO,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert json.loads(text)["ok"] if options else text.rstrip().endswith("verified")


@pytest.mark.slow
def test_a_directory_with_nothing_but_the_wheels_mrv_and_footprint_verifies(bundle, tmp_path):
    """Builds the wheel, unpacks two folders of it, and runs them in an environment of their own."""
    import importlib.util

    from tests.conftest import missing

    data, keyring = bundle
    wheels = tmp_path / "wheels"
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        str(wheels),
        str(REPO),
    ]
    if importlib.util.find_spec("hatchling") is not None:
        command.insert(4, "--no-build-isolation")
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        missing("a build backend (hatchling)")
    room = tmp_path / "room"
    room.mkdir()
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            if name.startswith(("mrv/", "footprint/")):
                wheel.extract(name, room)
    (room / "x.zip").write_bytes(data)
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    for module in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        found = importlib.util.find_spec(module)
        if found is not None:
            origin = found.submodule_search_locations
            path = next(iter(origin)) if origin else found.origin
            (packages / Path(path).name).symlink_to(path)
    done = subprocess.run(
        [
            *(str(environment / "bin" / "python"), "-m", "footprint.verify", "x.zip", "--json"),
            *("--trust", keyring.root.public.vkey),
        ],
        cwd=room,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"]
