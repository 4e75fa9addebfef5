"""A BOINC project's config.xml: what its programs read at their start."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from xml.etree import ElementTree as ET

import pymysql


class ConfigError(Exception):
    """config.xml is missing or can't be read; the message names it."""


@dataclass(frozen=True)
class Config:
    """The settings of config.xml that the stand-in knows, under BOINC's names. Counts of 0 mean: no limit."""

    project_dir: Path | None = None
    db_name: str = ""
    db_host: str = ""
    db_user: str = ""
    db_passwd: str = ""
    upload_dir: str = ""
    download_dir: str = ""
    uldl_dir_fanout: int = 1024
    enable_assignment: int = 1
    send_result_abort: int = 1
    one_result_per_host_per_wu: int = 1
    daily_result_quota: int = 500
    max_wus_in_progress: int = 0
    max_wus_to_send: int = 10
    max_ncpus: int = 64
    gpu_multiplier: int = 0
    delete_delay: float = 0.0

    @classmethod
    def load(cls, project_dir: Path) -> Config:
        """Read config.xml; raises ConfigError."""
        path = project_dir / "config.xml"
        try:
            config = ET.parse(path).getroot().find("config")  # noqa: S314 - the project's own file
        except (OSError, ET.ParseError) as error:
            raise ConfigError(f"{path}: {error}") from error
        if config is None:
            raise ConfigError(f"{path}: no <config> in <boinc>")
        given = {}
        for field in fields(cls):
            if field.name == "project_dir":
                continue
            text = config.findtext(field.name)
            if text is not None:
                kind: type = type(field.default)
                given[field.name] = kind(text.strip())
        return cls(**{**given, "project_dir": project_dir})

    def connect(self) -> pymysql.connections.Connection:
        """Connect as BOINC's programs do: every statement commits by itself.

        Without a db_host the unix socket is taken that the variable MYSQL_UNIX_PORT names, as MySQL's library does.
        """
        host, _, port = self.db_host.partition(":")
        at_socket = host in ("", "localhost")
        return pymysql.connect(
            host=host or "localhost",
            port=int(port or 3306),
            unix_socket=os.environ.get("MYSQL_UNIX_PORT", "/run/mysqld/mysqld.sock") if at_socket else None,
            user=self.db_user,
            password=self.db_passwd,
            database=self.db_name,
            charset="utf8mb4",
            autocommit=True,
        )
