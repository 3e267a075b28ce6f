"""Small files written so that a kill or a power cut leaves the old one, the new one, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mrv.errors import MeterprintError


class FileRefused(MeterprintError):
    """A file cannot be written or read."""


def read_file(path: Path) -> bytes:
    """What is in a file. Raises FileRefused."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileRefused(
            f"{path} cannot be read: {error}", hint="look at the disk, and at who may read it"
        ) from error


@contextmanager
def _written(path: Path, write: Callable[[BinaryIO], object], mode: int) -> Iterator[Path]:
    """What `write` writes, on disk beside `path`; raises FileRefused where the disk refuses."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FileRefused(
            f"{path} cannot be written: {error}", hint="free disk space, and look at the disk"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file, in place of one that may be there. Raises FileRefused."""
    stream_file(path, lambda file: file.write(data), mode)


def stream_file(path: Path, write: Callable[[BinaryIO], object], mode: int = 0o600) -> None:
    """Have a file written piece by piece, in place of one that may be there.

    Raises FileRefused.
    """
    with _written(path, write, mode) as temporary:
        temporary.replace(path)


def make_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that must not be there yet. Raises FileRefused."""
    with _written(path, lambda file: file.write(data), mode) as temporary:
        os.link(temporary, path)
        temporary.unlink()


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it. Raises FileRefused."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        sync_folder(folder.parent)
    except OSError as error:
        raise FileRefused(
            f"{folder} cannot be made: {error}", hint="free disk space, and look at the disk"
        ) from error
