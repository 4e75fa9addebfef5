"""The demo's BOINC project: its folder, laid out as BOINC's make_project does, and its database."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from axiomd.demo import schema, start
from axiomd.demo.backend_lib import dir_hier_path
from axiomd.demo.config import Config
from axiomd.demo.mariadb import PrivateMariaDB

APP = "axiom"
DATABASE = "axiom"
FANOUT = 1024
INPUT_FILE = "wu.json"  # the name under which a job finds its input
OUTPUT_FILE = "result.json"

CONFIG = """\
<?xml version="1.0" ?>
<boinc>
  <config>
    <host>{host}</host>
    <master_url>http://127.0.0.1/axiom/</master_url>
    <long_name>axiomd's demo</long_name>
    <db_name>{database}</db_name>
    <db_host></db_host>
    <db_user>{user}</db_user>
    <db_passwd></db_passwd>
    <upload_dir>{folder}/upload</upload_dir>
    <download_dir>{folder}/download</download_dir>
    <key_dir>{folder}/keys</key_dir>
    <uldl_dir_fanout>{fanout}</uldl_dir_fanout>
    <enable_assignment>1</enable_assignment>
    <send_result_abort>1</send_result_abort>
    <one_result_per_host_per_wu>1</one_result_per_host_per_wu>
    <daily_result_quota>500</daily_result_quota>
    <max_wus_in_progress>4</max_wus_in_progress>
    <max_wus_to_send>4</max_wus_to_send>
  </config>
  <daemons>
    <daemon>
      <cmd>transitioner -d 3</cmd>
    </daemon>
    <daemon>
      <cmd>validator -d 3 --app {app} --no_credit</cmd>
    </daemon>
  </daemons>
</boinc>
"""

# A job may fail or time out a few times before its workunit is given up.
INPUT_TEMPLATE = """\
<input_template>
<file_info>
    <no_delete/>
</file_info>
<workunit>
    <file_ref>
        <open_name>{input_file}</open_name>
        <copy_file/>
    </file_ref>
    <rsc_fpops_est>1e9</rsc_fpops_est>
    <rsc_fpops_bound>1e12</rsc_fpops_bound>
    <rsc_memory_bound>{memory}</rsc_memory_bound>
    <rsc_disk_bound>1e8</rsc_disk_bound>
    <delay_bound>{delay_bound}</delay_bound>
    <min_quorum>1</min_quorum>
    <target_nresults>1</target_nresults>
    <max_error_results>3</max_error_results>
    <max_total_results>6</max_total_results>
    <max_success_results>3</max_success_results>
</workunit>
</input_template>
"""

RESULT_TEMPLATE = """\
<output_template>
<file_info>
    <name><OUTFILE_0/></name>
    <generated_locally/>
    <upload_when_present/>
    <max_nbytes>1000000</max_nbytes>
    <url><UPLOAD_URL/></url>
</file_info>
<result>
    <file_ref>
        <file_name><OUTFILE_0/></file_name>
        <open_name>{output_file}</open_name>
        <copy_file/>
    </file_ref>
</result>
</output_template>
"""

# The variable names the server's socket, as for every program that links MySQL's library: config.xml can't.
PROGRAM = """\
#!/bin/sh
MYSQL_UNIX_PORT='{socket}' exec '{python}' -m {module}{own_name} "$@"
"""
PROGRAMS = {
    "create_work": "axiomd.demo.create_work",
    "start": "axiomd.demo.start",
    "stop": "axiomd.demo.start",
    "status": "axiomd.demo.start",
    "transitioner": "axiomd.demo.daemons",
    "validator": "axiomd.demo.daemons",
}


def make_folder(folder: Path, server: PrivateMariaDB, *, delay_bound: int = 86400, memory: float = 1e8) -> Config:
    """Make a project's folder and give its configuration; `memory` is a job's, in bytes."""
    for name in ("bin", "templates", "upload", "download", "keys"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = CONFIG.format(
        host=start.local_host(), database=DATABASE, user=server.user, folder=folder, fanout=FANOUT, app=APP
    )
    (folder / "config.xml").write_text(config, encoding="utf-8")
    template = INPUT_TEMPLATE.format(input_file=INPUT_FILE, delay_bound=delay_bound, memory=memory)
    (folder / "templates" / f"{APP}_in").write_text(template, encoding="utf-8")
    template = RESULT_TEMPLATE.format(output_file=OUTPUT_FILE)
    (folder / "templates" / f"{APP}_out").write_text(template, encoding="utf-8")
    for name, module in PROGRAMS.items():
        program = folder / "bin" / name
        # several programs in one: the name under which it is called says which
        own_name = ' "$0"' if list(PROGRAMS.values()).count(module) > 1 else ""
        text = PROGRAM.format(socket=server.socket, python=sys.executable, module=module, own_name=own_name)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
    return Config.load(folder)


def make_database(server: PrivateMariaDB) -> None:
    """Make the project's database with BOINC's tables, the app and a version of it."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    with server.connect(DATABASE) as connection:
        schema.create_tables(connection)
        platform = schema.insert(connection, "platform", name="x86_64-pc-linux-gnu", user_friendly_name="Linux")
        app = schema.insert(connection, "app", name=APP, user_friendly_name="Axiom")
        schema.insert(connection, "app_version", appid=app, version_num=100, platformid=platform, xml_doc="")


def stage_file(config: Config, name: str, content: Mapping[str, Any]) -> None:
    """Put an input file where clients fetch it, as bin/stage_file does."""
    path = dir_hier_path(name, Path(config.download_dir), config.uldl_dir_fanout)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
