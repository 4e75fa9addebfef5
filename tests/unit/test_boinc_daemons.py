"""BOINC's daemons as config.xml, lock files and run_state tell of them, with real locks of another process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.boinc.config import read_config
from axiomd.boinc.daemons import Daemon, is_enabled, local_daemons, local_host

HOST = "server"
HOLD = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"


def project(folder: Path, daemons: str, *, host: str = HOST) -> Path:
    """A project whose main host is this one."""
    text = f"<boinc><config><host>{host}</host></config><daemons>{daemons}</daemons></boinc>"
    (folder / "config.xml").write_text(text, encoding="utf-8")
    (folder / f"pid_{HOST}").mkdir(exist_ok=True)
    return folder


def look(folder: Path) -> list[Daemon]:
    return local_daemons(read_config(folder), HOST)


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process holds the lock on this file, as a daemon that `bin/start` started; its id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield process.pid
        process.stdin.write(b"\n")
        process.stdin.close()


@pytest.mark.parametrize(
    ("daemon", "name", "lock"),
    [
        pytest.param("<cmd>feeder -d 3</cmd>", "feeder", "feeder.lock", id="after the command"),
        pytest.param("<cmd> /srv/bin/feeder -d 3 </cmd>", "feeder", "feeder.lock", id="without its path"),
        pytest.param("<cmd>run_in_ops ./trim.php</cmd>", "trim.php", "trim.php.lock", id="run_in_ops"),
        pytest.param("<cmd>feeder</cmd><output>f.log</output>", "feeder", "f.log.lock", id="after the output"),
        pytest.param("<cmd>feeder</cmd><output>/dev/null</output>", "feeder", "feeder.lock", id="no output"),
        pytest.param(
            "<cmd>feeder</cmd><output>f.log</output><lock_file>own</lock_file>", "feeder", "own", id="lock_file"
        ),
    ],
)
def test_a_daemon_runs_while_its_lock_file_is_locked(tmp_path: Path, daemon: str, name: str, lock: str) -> None:
    project(tmp_path, f"<daemon>{daemon}</daemon>")
    (before,) = look(tmp_path)
    assert (before.name, before.runs, before.pid, before.trouble) == (name, False, 0, "")
    with held(tmp_path / f"pid_{HOST}" / lock) as pid:
        (now,) = look(tmp_path)
        assert (now.name, now.runs, now.pid) == (name, True, pid)
    (after,) = look(tmp_path)  # the file is still there, and nobody holds it
    assert (after.runs, after.pid) == (False, 0)


def test_looking_takes_no_lock_and_makes_no_file(tmp_path: Path) -> None:
    project(tmp_path, "<daemon><cmd>feeder</cmd></daemon><daemon><cmd>transitioner</cmd></daemon>")
    pids = tmp_path / f"pid_{HOST}"
    look(tmp_path)
    assert list(pids.iterdir()) == []
    with held(pids / "feeder.lock") as pid:
        look(tmp_path)
        assert [daemon.pid for daemon in look(tmp_path)] == [pid, 0]  # the lock is still the daemon's
    with held(pids / "feeder.lock"):  # and could be taken again
        assert [path.name for path in pids.iterdir()] == ["feeder.lock"]


@pytest.mark.parametrize(
    ("daemons", "names"),
    [
        pytest.param("", [], id="none"),
        pytest.param("<daemon/><daemon><cmd> </cmd></daemon><daemon><cmd>run_in_ops</cmd></daemon>", [], id="no cmd"),
        pytest.param("<daemon><cmd>a</cmd><host>other</host></daemon>", [], id="another host's"),
        pytest.param(f"<daemon><cmd>a</cmd><host>{HOST}</host></daemon>", ["a"], id="this host's"),
        pytest.param("<daemon><cmd>a</cmd><disabled>1</disabled></daemon>", [], id="disabled"),
        pytest.param("<daemon><cmd>a</cmd><disabled>0</disabled></daemon>", ["a"], id="disabled 0"),
        pytest.param("<daemon><cmd>a</cmd><disabled/></daemon>", ["a"], id="empty disabled, which BOINC runs"),
        pytest.param(
            "<daemon><cmd>transitioner --mod 2 0</cmd></daemon><daemon><cmd>transitioner --mod 2 1</cmd></daemon>",
            ["transitioner", "transitioner_2"],
            id="two of a command",
        ),
    ],
)
def test_which_daemons_belong_here(tmp_path: Path, daemons: str, names: list[str]) -> None:
    assert [daemon.name for daemon in look(project(tmp_path, daemons))] == names


def test_daemons_run_on_the_main_host_unless_they_name_another(tmp_path: Path) -> None:
    daemons = f"<daemon><cmd>a</cmd></daemon><daemon><cmd>b</cmd><host>{HOST}</host></daemon>"
    assert [daemon.name for daemon in look(project(tmp_path, daemons, host="main"))] == ["b"]
    assert [daemon.name for daemon in look(project(tmp_path, daemons, host=""))] == ["a", "b"]


def test_a_project_that_never_started_anything_has_nothing_that_runs(tmp_path: Path) -> None:
    project(tmp_path, "<daemon><cmd>feeder</cmd></daemon>")
    (tmp_path / f"pid_{HOST}").rmdir()
    assert [(daemon.runs, daemon.trouble) for daemon in look(tmp_path)] == [(False, "")]
    (tmp_path / f"pid_{HOST}").write_text("a file where the folder should be")
    assert [(daemon.runs, daemon.trouble) for daemon in look(tmp_path)] == [(False, "")]


def test_a_lock_file_that_nobody_can_read_is_told_from_a_daemon_that_is_down(tmp_path: Path) -> None:
    lock = project(tmp_path, "<daemon><cmd>feeder</cmd></daemon>") / f"pid_{HOST}" / "feeder.lock"
    lock.symlink_to(lock)
    (daemon,) = look(tmp_path)
    assert daemon.trouble == f"{lock}: Too many levels of symbolic links"


def test_a_pipe_in_place_of_a_lock_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    lock = project(tmp_path, "<daemon><cmd>feeder</cmd></daemon>") / f"pid_{HOST}" / "feeder.lock"
    os.mkfifo(lock)
    assert [daemon.runs for daemon in look(tmp_path)] == [False]


def run_state(enabled: str) -> str:
    return f'<?xml version="1.0" ?><boinc><tasks><task><cmd>x</cmd></task></tasks>{enabled}</boinc>'


@pytest.mark.parametrize(
    ("text", "enabled"),
    [
        pytest.param(run_state("<enabled>\n  1\n</enabled>"), True, id="started"),
        pytest.param(run_state("<enabled>0</enabled>"), False, id="stopped"),
        pytest.param(run_state("<enabled/>"), False, id="empty"),
        pytest.param(run_state(""), False, id="not said"),
        pytest.param(run_state("<enabled>yes</enabled>"), False, id="no number"),
        pytest.param("", False, id="half written"),
        pytest.param("<?xml version='1.0' encoding='klingon'?><boinc/>", False, id="an encoding that isn't one"),
        pytest.param(None, False, id="no file"),
    ],
)
def test_whether_the_daemons_are_meant_to_run(tmp_path: Path, text: str | None, *, enabled: bool) -> None:
    if text is not None:
        (tmp_path / f"run_state_{HOST}.xml").write_text(text)
    assert is_enabled(tmp_path, HOST) is enabled
    (tmp_path / "stop_daemons").touch()
    assert is_enabled(tmp_path, HOST) is False


@given(st.binary(max_size=300))
def test_a_run_state_of_garbage_is_no_reason_to_fall_over(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"run_state_{HOST}.xml").write_bytes(content)
        assert is_enabled(Path(folder), HOST) in {True, False}


def test_the_local_name_ends_at_its_first_dot() -> None:
    assert local_host()
    assert "." not in local_host()
