"""Programs and fonts out of Debian packages: installed as root, else unpacked into the cache."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.machine import Answer, cache, find, root_prefix, run, say

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
