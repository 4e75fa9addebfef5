"""Output files: their names in a result's row, where BOINC puts them, and reading one that a stranger wrote."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from axiomd.errors import AxiomdError

LONGEST_NAME: Final = 255
"""Bytes that a file's name may have."""
MOST_NAMES: Final = 16
"""Output files of a result that are looked at."""
_NOT_THERE: Final = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_CHUNK: Final = 1 << 20


class OutputError(AxiomdError):
    """An output file isn't read; `reason` says why, in one word of a closed list."""

    reason = "unreadable"


class BadName(OutputError):  # noqa: N818 - what is wrong, as the counter names it
    """The name is none that BOINC gives to an output file; with it one might leave the upload folder."""

    reason = "bad_name"


class FileMissing(OutputError):  # noqa: N818
    """There is no such file: never uploaded, or deleted."""

    reason = "missing"


class NotAFile(OutputError):  # noqa: N818
    """What has that name is a link, a folder, a pipe or the like."""

    reason = "not_a_file"


class TooLarge(OutputError):  # noqa: N818
    """The file is larger than it may be."""

    reason = "too_large"


class Unreadable(OutputError):  # noqa: N818
    """The disk, or a right, is in the way: another time it may work. `reason` is the system's word, such as EIO."""

    def __init__(self, path: str | Path, error: OSError) -> None:
        super().__init__(f"{path}: {error.strerror}; axiomd's user must be able to read the upload folder")
        self.reason = errno.errorcode.get(error.errno or 0, "unknown")


def output_names(xml_doc_out: str) -> list[str]:
    """Give the names of a result's output files, in order, as its column xml_doc_out has them."""
    names = []
    for block in xml_doc_out.split("<file_info>")[1 : MOST_NAMES + 1]:
        _, found, rest = block.partition("</file_info>")[0].partition("<name>")
        name, ended, _ = rest.partition("</name>")
        if found and ended:
            names.append(name.strip().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return names


def upload_path(upload_dir: str | Path, fanout: int, name: str) -> str:
    """Give where BOINC keeps an uploaded file. fanout: `uldl_dir_fanout`, 0 for one flat folder. Raises BadName."""
    try:
        content = name.encode("utf-8")
    except UnicodeEncodeError:
        content = b""
    if not 0 < len(content) <= LONGEST_NAME or name.startswith(".") or "/" in name or ".." in name or "\0" in name:
        raise BadName(f"no output file is named {name[:60]!a}")
    if not fanout:
        return f"{upload_dir}/{name}"
    number = int(hashlib.md5(content, usedforsecurity=False).hexdigest()[1:8], 16)
    return f"{upload_dir}/{number % fanout:x}/{name}"


def read_file(path: str | Path, max_bytes: int) -> bytes:
    """Read a file whole. Raises FileMissing, NotAFile, TooLarge (of one that grows meanwhile, too), Unreadable.

    No link is followed, and nothing is waited for: whoever can write to the folder may have put a pipe there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _read(descriptor, path, max_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise FileMissing(f"{path} is not there") from error
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:  # a link; a socket; a folder
            raise NotAFile(f"{path} is no file") from error
        raise Unreadable(path, error) from error


def _read(descriptor: int, path: str | Path, max_bytes: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile(f"{path} is no file")
    if status.st_size > max_bytes:
        raise TooLarge(f"{path} has {status.st_size} bytes")
    content = os.read(descriptor, min(max_bytes, status.st_size) + 1)
    if len(content) == status.st_size:
        return content
    parts, size = [content], len(content)
    while content and size <= max_bytes:  # it grew or shrank, or came in pieces
        content = os.read(descriptor, min(max_bytes + 1 - size, _CHUNK))
        parts.append(content)
        size += len(content)
    if size > max_bytes:
        raise TooLarge(f"{path} grew beyond {max_bytes} bytes")
    return b"".join(parts)
