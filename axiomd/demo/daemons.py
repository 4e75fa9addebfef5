"""BOINC's daemons as programs: bin/transitioner and bin/validator make one pass after another.

    transitioner [--one_pass] [--sleep_interval SECONDS]
    validator [--one_pass] [--sleep_interval SECONDS] [--app NAME] [--no_credit]

A daemon ends at a signal, when the project's file stop_daemons is there, and, with exit status 1, when something is
wrong: most of all when the database is gone, and so with the demo, however that ends. Facts from BOINC's
sched/transitioner.cpp and sched/sched_util_basic.cpp.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pymysql
from pymysql.connections import Connection

from axiomd.demo import transitioner, validator
from axiomd.demo.config import Config, ConfigError
from axiomd.demo.start import StartError, find_project

SLEEP_S = 0.5  # BOINC's sleep 5 s between two passes; in the demo time runs faster
CRITICAL = "[CRITICAL]"  # in the log, where a daemon ends that nobody told to
IGNORED = ("app", "d")  # options with a value that makes no difference here


class UsageError(Exception):
    """The command line can't be read; the message says why."""


@dataclass
class CommandLine:
    """What a daemon was asked for."""

    one_pass: bool = False
    sleep_s: float = SLEEP_S


def parse(words: list[str]) -> CommandLine:
    """Read the command line; options begin with one dash or two. Raises UsageError."""
    line = CommandLine()
    rest = iter(words)
    for word in rest:
        name = word.removeprefix("-").removeprefix("-")
        if name == "one_pass":
            line.one_pass = True
        elif name in IGNORED:
            _value(word, next(rest, None))
        elif name == "sleep_interval":
            try:
                line.sleep_s = float(_value(word, next(rest, None)))
            except ValueError:
                raise UsageError(f"{word} requires a number") from None
        elif name != "no_credit":
            raise UsageError(f"unknown command line argument: {word}")
    return line


def _value(word: str, value: str | None) -> str:
    if value is None:
        raise UsageError(f"{word} requires an argument")
    return value


def run(name: str, line: CommandLine) -> None:
    """Make passes until a signal comes or stop_daemons is there. Raises what is wrong."""
    stopping = threading.Event()
    if not line.one_pass:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
    folder = find_project()
    config = Config.load(folder)
    _log("[normal]", "Starting")
    with config.connect() as connection:
        while line.one_pass or not _told_to_stop(stopping, folder):
            _one_pass(name, connection, config)
            if line.one_pass:
                return
            stopping.wait(line.sleep_s)


def _one_pass(name: str, connection: Connection, config: Config) -> None:
    if name == "transitioner":
        with transitioner.held_back(connection):
            transitioner.one_pass(connection, int(time.time()), config)
    else:
        validator.one_pass(connection, int(time.time()))


def _told_to_stop(stopping: threading.Event, folder: Path) -> bool:
    if stopping.is_set():
        _log("[normal]", "Quitting due to SIGHUP")
        return True
    if (folder / "stop_daemons").exists():
        _log("[normal]", "Quitting because trigger file 'stop_daemons' is present")
        return True
    return False


def _log(level: str, message: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level} {message}", file=sys.stderr, flush=True)


def main(name: str, words: list[str]) -> int:
    """Run the daemon of this name, transitioner or validator, and give its exit status."""
    try:
        run(name, parse(words))
    except (UsageError, StartError, ConfigError, pymysql.MySQLError, OSError) as error:
        _log(CRITICAL, f"{name} ends: {error}")
        return 1
    except Exception as error:
        _log(CRITICAL, f"{name} ends: {error}")
        raise  # a mistake in it: the log gets the traceback
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).name, sys.argv[2:]))
