"""What BOINC's programs share: the hierarchy of file folders, templates, and the making of a result.

Facts from BOINC's tools/backend_lib.cpp, tools/process_input_template.cpp and lib/filesys.cpp.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from pymysql.connections import Connection

from axiomd.demo import schema
from axiomd.demo.config import Config
from axiomd.demo.rows import Row
from axiomd.demo.states import ServerState

# What an input template sets in the workunit's row; it wins over the command line.
TEMPLATE_COLUMNS: dict[str, type[int | float]] = {
    "rsc_fpops_est": float,
    "rsc_fpops_bound": float,
    "rsc_memory_bound": float,
    "rsc_bandwidth_bound": float,
    "rsc_disk_bound": float,
    "batch": int,
    "delay_bound": int,
    "min_quorum": int,
    "target_nresults": int,
    "max_error_results": int,
    "max_total_results": int,
    "max_success_results": int,
    "size_class": int,
}


class TemplateError(Exception):
    """A template is missing or doesn't fit; the message says which and why."""


def dir_hier_path(name: str, folder: Path, fanout: int) -> Path:
    """Where a file lies in an upload or download folder; a fanout of 0 means a flat one."""
    if fanout == 0:
        return folder / name
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return folder / format(int(digest[1:8], 16) % fanout, "x") / name


def create_result(connection: Connection, workunit: Row, suffix: str, config: Config, now: int) -> int:
    """Insert an UNSENT result of a workunit and give its id.

    A name in the database is `<workunit>_<suffix>`; an output file's has a random part too, so that nobody can upload
    another host's. Raises TemplateError.
    """
    name = f"{workunit['name']}_{suffix}"
    sized = workunit["size_class"] >= 0
    return schema.insert(
        connection,
        "result",
        create_time=now,
        workunitid=workunit["id"],
        server_state=ServerState.INACTIVE if sized else ServerState.UNSENT,
        name=name,
        xml_doc_in=_result_xml(name, workunit["result_template_file"], config),
        xml_doc_out="",
        stderr_out="",
        batch=workunit["batch"],
        random=random.getrandbits(31),
        appid=workunit["appid"],
        priority=workunit["priority"],
        size_class=workunit["size_class"],
    )


def _result_xml(name: str, template_file: str, config: Config) -> str:
    if config.project_dir is None:
        return ""  # rows without a project's folder: a test that looks at the tables alone
    path = config.project_dir / template_file
    try:
        template = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"result template {path}: {error.strerror}") from error
    base = f"{name}_r{random.getrandbits(31)}_"
    return re.sub(r"<OUTFILE_(\d+)\s*/>", lambda match: base + match[1], template)


def process_input_template(
    template: str, infiles: Sequence[str], config: Config, command_line: str
) -> tuple[str, dict[str, int | float]]:
    """Fill in an input template: the workunit's xml_doc, and the columns that the template sets.

    Raises TemplateError.
    """
    try:
        root = ET.fromstring(f"<template>{template}</template>")  # noqa: S314 - the project's own file
    except ET.ParseError as error:
        raise TemplateError(f"unexpected XML tag or syntax: {error}") from error
    if root.find("input_template") is not None:
        root = root[0]
    workunit = root.find("workunit")
    if workunit is None:
        raise TemplateError("bad WU template - no <workunit>")
    infos = root.findall("file_info")
    if len(infiles) != len(infos):
        raise TemplateError(f"{len(infiles)} input files given, but template has {len(infos)}")
    if len(infiles) != len(workunit.findall("file_ref")):
        raise TemplateError("#file refs != #file infos")
    lines = [line for info, name in zip(infos, infiles, strict=True) for line in _file(info, name, config)]
    lines += _workunit(workunit, infiles, command_line)
    columns = {
        # BOINC reads an integer as far as it goes: 20.5 is 20
        element.tag: TEMPLATE_COLUMNS[element.tag](float(element.text or "0"))
        for element in workunit
        if element.tag in TEMPLATE_COLUMNS
    }
    return "\n".join(lines), columns


def _workunit(workunit: ET.Element, infiles: Sequence[str], command_line: str) -> list[str]:
    """The <workunit> of an xml_doc: file references by their names, the command line, and what else there is."""
    lines = ["<workunit>"]
    if command_line:
        lines += ["<command_line>", escape(command_line), "</command_line>"]
    names = iter(infiles)
    for element in workunit:
        if element.tag in TEMPLATE_COLUMNS:
            continue
        if element.tag == "command_line" and command_line:
            raise TemplateError(f"Can't specify command line {element.text}; already specified as {command_line}")
        if element.tag == "file_ref":
            file_name = ET.Element("file_name")
            file_name.text = next(names)
            element.insert(0, file_name)
        lines.append(_text(element))
    return [*lines, "</workunit>"]


def _file(info: ET.Element, name: str, config: Config) -> list[str]:
    """The <file_info> of an input file that was staged before."""
    path = dir_hier_path(name, Path(config.download_dir), config.uldl_dir_fanout)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TemplateError(f"input file {path}: {error.strerror}") from error
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    others = [_text(element) for element in info if element.tag != "number"]
    return [
        "<file_info>",
        f"    <name>{escape(name)}</name>",
        f"    <md5_cksum>{digest}</md5_cksum>",
        f"    <nbytes>{len(content)}</nbytes>",
        *others,
        "</file_info>",
    ]


def _text(element: ET.Element) -> str:
    return ET.tostring(element, encoding="unicode").strip()
