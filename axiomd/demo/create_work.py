"""A stand-in for BOINC's bin/create_work, with its command line: makes workunits, and assignments for targeted ones.

    create_work --appname NAME [options] [--stdin] [input files]

With --stdin each line of the input describes a job. Like BOINC's program it reads config.xml in the current folder,
commits each statement by itself (the workunit first, then its assignment), and ends with exit status 1 at the first
thing that goes wrong; what was made before stays. Facts from BOINC's tools/create_work.cpp, tools/backend_lib.cpp.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pymysql
from pymysql.connections import Connection

from axiomd.demo import rows, schema
from axiomd.demo.backend_lib import TemplateError, process_input_template
from axiomd.demo.config import Config, ConfigError
from axiomd.demo.states import INT_MAX, Target, TransitionerFlags

LONGEST_STATEMENT = 1_000_000  # characters of one insert of many workunits
LONGEST_TEMPLATE_NAME = 63

# A workunit's columns that no template and no option sets (BOINC's tools/backend_lib.h).
DEFAULTS: dict[str, Any] = {
    "batch": 0,
    "rsc_fpops_est": 3600e9,
    "rsc_fpops_bound": 86400e9,
    "rsc_memory_bound": 5e8,
    "rsc_disk_bound": 1e9,
    "rsc_bandwidth_bound": 0.0,
    "delay_bound": 7 * 86400,
    "min_quorum": 1,
    "target_nresults": 1,
    "max_error_results": 1,
    "max_total_results": 1,
    "max_success_results": 1,
    "size_class": -1,
    "priority": 0,
    "hr_class": 0,
    "app_version_num": 0,
    "canonical_credit": 0.0,
    "keywords": "",
}

# Options that set a column, on the command line; on a line of the input, only the priority.
_COLUMNS = {name: type(value) for name, value in DEFAULTS.items() if name != "canonical_credit"}
_TARGETS = {"target_host": Target.HOST, "target_user": Target.USER, "target_team": Target.TEAM}
_BROADCASTS = {"broadcast": Target.NONE, "broadcast_user": Target.USER, "broadcast_team": Target.TEAM}
_FILES = ("wu_template", "result_template")


class CreateWorkError(Exception):
    """No work could be made; the message is what the program prints before it ends with exit status 1."""


@dataclass
class Job:
    """One job: the command line gives what all have in common, a line of the input its own."""

    columns: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS))
    name: str = ""
    wu_template: str = ""
    result_template: str = ""
    infiles: tuple[str, ...] = ()
    command_line: str = ""
    target_type: Target | None = None
    target_id: int = 0
    multi: bool = False


@dataclass
class CommandLine:
    """What the program was called with."""

    appname: str = ""
    stdin: bool = False
    verbose: bool = False
    continue_on_error: bool = False
    config_dir: str = "."
    named: bool = False
    job: Job = field(default_factory=Job)


def parse(words: Sequence[str]) -> CommandLine:
    """Read the command line; options begin with one dash or two. Raises CreateWorkError."""
    line = CommandLine()
    rest = iter(words)
    for word in rest:
        name = word.removeprefix("-").removeprefix("-")
        if not word.startswith("-"):
            line.job.infiles += (word,)
        elif name in ("stdin", "verbose", "continue_on_error"):
            setattr(line, name, True)
        elif name in ("appname", "config_dir"):
            setattr(line, name, _value(word, rest))
        elif name == "d":
            _value(word, rest)  # BOINC's level of detail in the log
        elif name == "credit":
            line.job.columns["canonical_credit"] = _number(word, rest, float)
        elif name in _COLUMNS:
            line.job.columns[name] = _number(word, rest, _COLUMNS[name])
        elif not _parse_job(line.job, name, word, rest):
            raise CreateWorkError(f"create_work: bad argument '{word}'")
    if not line.appname:
        raise CreateWorkError("usage: create_work --appname name [options] [--stdin] infile1 infile2 ...")
    line.named = bool(line.job.name)
    line.job.name = line.job.name or f"{line.appname}_{os.getpid()}_{time.time():f}"
    line.job.wu_template = line.job.wu_template or f"templates/{line.appname}_in"
    line.job.result_template = line.job.result_template or f"templates/{line.appname}_out"
    return line


def parse_stdin_line(common: Job, text: str, number: int) -> Job:
    """Read a line of the input; what it doesn't say is as on the command line. Raises CreateWorkError."""
    job = dataclasses.replace(common, columns=dict(common.columns), name="")
    rest = iter(shlex.split(text))
    for word in rest:
        name = word.removeprefix("-").removeprefix("-")
        if not word.startswith("-"):
            job.infiles += (word,)
        elif name == "priority":
            job.columns["priority"] = _number(word, rest, int)
        elif name == "command_line":
            job.command_line = f"{job.command_line} {_value(word, rest)}".strip()
        elif name in ("target_team", *_BROADCASTS) or not _parse_job(job, name, word, rest):
            raise CreateWorkError(f"create_work: bad stdin argument '{word}'")
    job.name = job.name or f"{common.name}_{number}"
    return job


def _parse_job(job: Job, name: str, word: str, rest: Iterable[str]) -> bool:
    """Read an option that the command line and the lines of the input share; False for one that is neither's."""
    if name == "wu_name":
        job.name = _value(word, rest)
    elif name == "command_line":
        job.command_line = _value(word, rest)
    elif name in _FILES:
        setattr(job, name, _value(word, rest))
    elif name in _TARGETS or name in _BROADCASTS:
        job.multi = name in _BROADCASTS
        job.target_type = (_BROADCASTS if job.multi else _TARGETS)[name]
        if name != "broadcast":
            job.target_id = _number(word, rest, int)
            if job.target_id == 0:
                raise CreateWorkError(
                    "you must specify a nonzero database ID for assigning jobs to users, teams, or hosts."
                )
    else:
        return False
    return True


def _value(word: str, rest: Iterable[str]) -> str:
    for value in rest:
        return value
    raise CreateWorkError(f"create_work: '{word}' needs a value")


def _number(word: str, rest: Iterable[str], kind: type) -> Any:
    text = _value(word, rest)
    try:
        return kind(text)
    except ValueError:
        raise CreateWorkError(f"create_work: '{word}' needs a number, not '{text}'") from None


class Maker:
    """Makes the jobs of one call in a project's database."""

    def __init__(self, connection: Connection, config: Config, line: CommandLine, now: int) -> None:
        self.connection = connection
        self.config = config
        self.line = line
        self.now = now
        self.project_dir = config.project_dir or Path()
        self._templates: dict[str, str] = {}

    def make(self, lines: Iterable[str]) -> None:
        """Make the job of the command line, or with --stdin one for each line. Raises CreateWorkError."""
        app = rows.select_one(self.connection, "SELECT id FROM app WHERE name = %s", self.line.appname)
        if app is None:
            raise CreateWorkError("create_work: app not found")
        self.line.job.columns["appid"] = app["id"]
        if self.line.stdin:
            self._make_many(lines)
        else:
            if not (self.project_dir / self.line.job.wu_template).exists():
                raise CreateWorkError(f"create_work: input template file {self.line.job.wu_template} doesn't exist")
            self._make_one(self.line.job)

    def _make_many(self, lines: Iterable[str]) -> None:
        """Assigned jobs are made one by one, the others some thousand at a time."""
        waiting: list[dict[str, Any]] = []
        size = 0
        for number, text in enumerate(lines):
            job = parse_stdin_line(self.line.job, text, number)
            if job.target_type is not None:
                if self.line.job.target_type is None:
                    job.wu_template = self.line.job.wu_template  # a line's own is ignored then
                self._make_one(job)
                continue
            try:
                workunit = self._workunit(job)
            except TemplateError as error:
                if not self.line.continue_on_error:
                    raise
                print(f"create_work() failed: {error}", file=sys.stderr)
                continue
            if workunit is None:
                continue
            waiting.append(workunit)
            size += sum(len(str(value)) for value in workunit.values())
            if size > LONGEST_STATEMENT:
                self._insert_batch(waiting)
                waiting, size = [], 0
        if waiting:
            self._insert_batch(waiting)

    def _make_one(self, job: Job) -> None:
        workunit = self._workunit(job)
        # Without a result template BOINC's program makes no workunit, and an assignment for workunit 0 all the same
        workunit_id = self._insert(workunit) if workunit is not None else 0
        if self.line.verbose:
            print(f"created workunit; name {job.name}, ID {workunit_id}", file=sys.stderr)
        if job.target_type is not None:
            schema.insert(
                self.connection,
                "assignment",
                create_time=self.now,
                target_id=job.target_id,
                target_type=job.target_type,
                multi=job.multi,
                workunitid=workunit_id,
            )

    def _workunit(self, job: Job) -> dict[str, Any] | None:
        """Columns of a job's workunit; None when the result template is missing. Raises TemplateError."""
        xml_doc, from_template = process_input_template(
            self._template(job.wu_template), job.infiles, self.config, job.command_line
        )
        columns = {**job.columns, **from_template}
        target = columns["target_nresults"]
        columns["max_success_results"] = max(columns["max_success_results"], target)
        columns["max_total_results"] = max(columns["max_total_results"], target)
        if not (self.project_dir / job.result_template).exists():
            print(f"create_work: result template file {job.result_template} doesn't exist", file=sys.stderr)
            return None
        _check(job, columns)
        flags = TransitionerFlags.NORMAL
        if job.target_type is not None:
            flags = TransitionerFlags.NONE if job.multi else TransitionerFlags.NO_NEW_RESULTS
        return {
            **columns,
            "name": job.name,
            "create_time": self.now,
            "xml_doc": xml_doc,
            "result_template_file": job.result_template,
            "transitioner_flags": flags,
            "transition_time": INT_MAX if flags else self.now,
        }

    def _template(self, name: str) -> str:
        if name not in self._templates:
            try:
                self._templates[name] = (self.project_dir / name).read_text(encoding="utf-8")
            except OSError:
                raise CreateWorkError(f"Can't read WU template {name}") from None
        return self._templates[name]

    def _insert(self, workunit: dict[str, Any]) -> int:
        try:
            return schema.insert(self.connection, "workunit", **workunit)
        except pymysql.MySQLError as error:
            raise CreateWorkError(
                f"Database error: {_words(error)}\ncreate_work: workunit.insert() error -1\ncreate_work: error -1"
            ) from error

    def _insert_batch(self, workunits: list[dict[str, Any]]) -> None:
        """All in one statement: either every one of them is made or none."""
        try:
            schema.insert_batch(self.connection, "workunit", workunits)
        except pymysql.MySQLError as error:
            raise CreateWorkError(f"wu.insert_batch() failed: -1\nMySQL error: {_words(error)}") from error


def _check(job: Job, columns: dict[str, Any]) -> None:
    if len(job.result_template) > LONGEST_TEMPLATE_NAME:
        raise CreateWorkError(
            f"result template filename is too big: {len(job.result_template)} bytes, max is {LONGEST_TEMPLATE_NAME}"
        )
    needed = ("rsc_fpops_est", "rsc_fpops_bound", "rsc_disk_bound", "target_nresults", "max_error_results")
    for name in (*needed, "max_total_results", "max_success_results"):
        if columns[name] == 0:
            raise CreateWorkError(f"no {name} given; can't create job")
    for name in ("max_success_results", "max_error_results"):
        if columns[name] > columns["max_total_results"]:
            raise CreateWorkError(f"{name} > max_total_results; can't create job")


def _words(error: pymysql.MySQLError) -> str:
    """The server's own message."""
    return str(error.args[1]) if len(error.args) > 1 else str(error)


def make(config: Config, words: Sequence[str], lines: Iterable[str], now: int) -> None:
    """Do what a call with these command line words and input lines does. Raises CreateWorkError."""
    line = parse(words)
    try:
        connection = config.connect()
    except pymysql.MySQLError as error:
        raise CreateWorkError(f"create_work: error opening database: {_words(error)}") from error
    try:
        # BOINC's program reads without waiting for anyone
        rows.execute(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        Maker(connection, config, line, now).make(lines)
    except TemplateError as error:
        raise CreateWorkError(f"process_input_template(): {error}\ncreate_work: {error}") from error
    finally:
        connection.close()
    if not line.stdin and not line.named:
        print(f"workunit name: {line.job.name}")


def main(words: Sequence[str], lines: TextIO) -> int:
    """Run the program in the current folder and give its exit status."""
    try:
        make(Config.load(Path(parse(words).config_dir)), words, lines, int(time.time()))
    except ConfigError as error:
        print(f"Can't parse config file: {error}", file=sys.stderr)
        return 1
    except CreateWorkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin))
