"""Where output files lie, and that reading one waits for nothing, follows nothing and reads no more than it may."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from axiomd.boinc import error_numbers, files
from axiomd.boinc.config import read_config
from axiomd.boinc.files import (
    BadName,
    FileMissing,
    NotAFile,
    OutputError,
    TooLarge,
    Unreadable,
    output_names,
    read_file,
    upload_path,
)
from axiomd.boinc.states import ExitStatus

LIMIT = 1000


def info(name: str) -> str:
    return f"<file_info>\n    <name>{name}</name>\n <nbytes>12</nbytes><md5_cksum>x</md5_cksum></file_info>\n"


NAMES: dict[str, tuple[str, list[str]]] = {
    "one file": (info("a-v1-b1-s5_0_r1_0"), ["a-v1-b1-s5_0_r1_0"]),
    "two files": (info("x_0") + info("x_1") + "<result><file_ref><name>y</name></file_ref></result>", ["x_0", "x_1"]),
    "escaped": (info("a&amp;lt;b"), ["a&lt;b"]),
    "none": ("", []),
    "cut off": ("<file_info><name>half", []),
    "no name": ("<file_info></file_info><name>other</name>", []),
    "more than are looked at": (info("x") * 10_000, ["x"] * files.MOST_NAMES),
}


@pytest.mark.parametrize(("document", "names"), NAMES.values(), ids=NAMES)
def test_names_of_output_files(document: str, names: list[str]) -> None:
    assert output_names(document) == names


def test_where_boinc_puts_a_file() -> None:
    # md5sum of "name" begins with b068931c: digits 1 to 8, modulo the fanout.
    assert upload_path(Path("/up"), 0, "name") == "/up/name"
    assert upload_path(Path("/up"), 1024, "name") == "/up/31c/name"
    assert upload_path(Path("/up"), 1, "name") == "/up/0/name"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a\0b", ".hidden", "x" * 256, "ä" * 128, "\udc80"],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(BadName):
        upload_path(Path("/up"), 1024, name)


def link(path: Path) -> None:
    (path.parent / "target").write_bytes(b"{}")
    path.symlink_to(path.parent / "target")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def socket_(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


ODD: dict[str, tuple[Callable[[Path], object], type[OutputError], str]] = {
    "no file": (lambda path: None, FileMissing, "missing"),
    "a file for a folder": (lambda path: path.parent.joinpath("f").mkdir(), NotAFile, "not_a_file"),
    "a symbolic link": (link, NotAFile, "not_a_file"),
    "a pipe, that nobody writes to": (os.mkfifo, NotAFile, "not_a_file"),
    "a socket": (socket_, NotAFile, "not_a_file"),
    "one byte too many": (lambda path: path.write_bytes(b"x" * (LIMIT + 1)), TooLarge, "too_large"),
    "a gigabyte": (sparse, TooLarge, "too_large"),
}


@pytest.mark.parametrize(("make", "error", "reason"), ODD.values(), ids=ODD)
def test_what_is_no_output_file_is_not_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    error: type[OutputError],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "f")
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(error) as raised:
        read_file(tmp_path / "f", LIMIT)
    assert raised.value.reason == reason


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    for content in (b"", b"x", b"x" * LIMIT):
        (tmp_path / "f").write_bytes(content)
        assert read_file(tmp_path / "f", LIMIT) == content
    assert tmp_path / "f" not in [link.resolve() for link in Path("/proc/self/fd").iterdir()]


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"x" * LIMIT * 5)
    monkeypatch.setattr(os, "fstat", lambda descriptor: SimpleNamespace(st_mode=0o100644, st_size=3))
    with pytest.raises(TooLarge):
        read_file(tmp_path / "f", LIMIT)
    (tmp_path / "f").write_bytes(b"x" * LIMIT)
    assert len(read_file(tmp_path / "f", LIMIT)) == LIMIT


def test_a_file_that_shrinks_or_vanishes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    stat = os.fstat

    def shrink(descriptor: int) -> os.stat_result:
        monkeypatch.undo()
        before = stat(descriptor)
        os.truncate(tmp_path / "f", 10)
        (tmp_path / "f").unlink()
        return before

    monkeypatch.setattr(os, "fstat", shrink)
    assert read_file(tmp_path / "f", LIMIT) == b"x" * 10


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_trouble_with_the_disk_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "f").write_bytes(b"x")
    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(Unreadable) as raised:
        read_file(tmp_path / "f", LIMIT)
    assert raised.value.reason == errno.errorcode[number]


@pytest.mark.parametrize(
    ("inside", "folder", "fanout"),
    [
        ("<upload_dir>/var/up</upload_dir><uldl_dir_fanout>1024</uldl_dir_fanout>", "/var/up", 1024),
        ("<upload_dir>elsewhere</upload_dir>", "PROJECT/elsewhere", 0),
        ("<uldl_dir_fanout>-1</uldl_dir_fanout>", "PROJECT/upload", 0),
    ],
)
def test_the_upload_folder_of_config_xml(tmp_path: Path, inside: str, folder: str, fanout: int) -> None:
    (tmp_path / "config.xml").write_text(f"<boinc><config>{inside}</config></boinc>", encoding="utf-8")
    config = read_config(tmp_path)
    assert (str(config.upload_dir), config.uldl_dir_fanout) == (folder.replace("PROJECT", str(tmp_path)), fanout)


def test_names_of_exit_statuses_are_those_of_the_states() -> None:
    named = {number: name for number, name in error_numbers.NAMES.items() if number > 0}
    assert named == {status.value: f"EXIT_{status.name}" for status in ExitStatus}
    assert error_numbers.name_of(-1073741819) == "ACCESS_VIOLATION"
    assert error_numbers.name_of(1) == ""
