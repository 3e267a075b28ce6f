"""The bundle's container: a zip of stored files with sorted names and fixed times.

The same files give the same bytes. Reading takes the bytes of each file as they stand, so that a
flipped bit is named by the manifest's hash and not hidden behind the zip's checksum.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from mrv.errors import EvidenceError

FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every file: the earliest a zip can hold."""
MAX_BUNDLE_BYTES = 2**31
"""Largest bundle read, bytes."""
_LOCAL = struct.Struct("<4s2B4HL2L2H")


class ContainerError(EvidenceError):
    """A zip that is not a bundle; `file` names the member where one is concerned."""

    def __init__(self, message: str, *, file: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file


def write(files: Mapping[str, bytes]) -> bytes:
    """The container of `files`, deterministic to the byte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            _check_name(name)
            info = zipfile.ZipInfo(name, FIXED_TIME)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, files[name])
    return buffer.getvalue()


def _check_name(name: str) -> None:
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or any(p in ("", ".", "..") for p in parts):
        raise ContainerError(f"not a file name of a bundle: {name!r}", file=name)


def read(data: bytes) -> dict[str, bytes]:
    """Files of a container, bytes as they stand.

    Raises ContainerError where it is no such zip, naming the file where one is concerned.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise ContainerError(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes, seen {len(data)}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, UnicodeDecodeError) as error:
        raise ContainerError(
            f"not a zip file: {error}", hint="download the bundle again"
        ) from error
    except (NotImplementedError, zlib.error, RuntimeError) as error:
        raise ContainerError(f"a zip of another kind: {error}") from error
    files: dict[str, bytes] = {}
    room = len(data)
    for info in infos:
        _check_name(info.filename)
        if info.filename in files:
            raise ContainerError(f"{info.filename} stands twice", file=info.filename)
        files[info.filename] = _stored(data, info)
        room -= info.file_size
        if room < 0:
            raise ContainerError(f"{info.filename} overlaps others", file=info.filename)
    return files


def _stored(data: bytes, info: zipfile.ZipInfo) -> bytes:
    name = info.filename
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ContainerError(f"{name} is not stored as it is", file=name)
    header = data[info.header_offset : info.header_offset + _LOCAL.size]
    if len(header) != _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise ContainerError(f"{name} has no local header", file=name)
    fields = _LOCAL.unpack(header)
    start = info.header_offset + _LOCAL.size + fields[-2] + fields[-1]
    if data[info.header_offset + _LOCAL.size :][: fields[-2]] != info.orig_filename.encode():
        raise ContainerError(f"{name} stands under another name at its place", file=name)
    content = data[start : start + info.file_size]
    if len(content) != info.file_size:
        raise ContainerError(f"{name} is cut off", file=name)
    return content
