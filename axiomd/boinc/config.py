"""BOINC's config.xml: the database, the folders, what the scheduler gives a host at most, and the list of daemons."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # the operator's own file, not a stranger's
from dataclasses import dataclass
from pathlib import Path

from axiomd.errors import ProjectError


@dataclass(frozen=True)
class DaemonEntry:
    """A `<daemon>` of config.xml, as it stands there: what is left out is empty."""

    cmd: str
    host: str = ""
    disabled: bool = False
    pid_file: str = ""
    lock_file: str = ""
    output: str = ""


@dataclass(frozen=True)
class ProjectConfig:
    """What axiomd needs of config.xml. The password is never shown."""

    project_dir: Path
    db_name: str
    db_host: str
    db_user: str
    db_passwd: str
    daily_result_quota: int
    """Jobs a core and day that a host starts with; 0: no quota."""
    max_wus_in_progress: int
    """Jobs in progress a core at most; 0: no limit."""
    enable_assignment: bool
    send_result_abort: bool
    credit_by_app: bool
    host: str = ""
    """The project's main host, by its short name: where daemons run that name none."""
    upload_dir: Path = Path("upload")
    """Where the volunteers' output files lie, by absolute path."""
    uldl_dir_fanout: int = 0
    """Subfolders that they are spread over; 0: none."""
    daemons: tuple[DaemonEntry, ...] = ()

    def __repr__(self) -> str:
        """Show the project, never the password."""
        return f"ProjectConfig({self.project_dir})"


def read_config(project_dir: Path) -> ProjectConfig:
    """Read config.xml of a project. Raises ProjectError if it isn't there or isn't BOINC's."""
    path = project_dir / "config.xml"
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the operator's own file
    except OSError as error:
        raise ProjectError(
            f"{path}: {error.strerror}. project.dir must be the project's folder, readable for axiomd's user."
        ) from error
    except ET.ParseError as error:
        raise ProjectError(f"{path}: not valid XML: {error}") from error
    config = root.find("config")
    if config is None:
        raise ProjectError(f"{path}: no <config> inside <{root.tag}>: is this a BOINC project's config.xml?")

    def text(name: str) -> str:
        return (config.findtext(name) or "").strip()

    def number(name: str) -> int:
        value = text(name)
        try:
            return int(float(value)) if value else 0
        except (ValueError, OverflowError):
            raise ProjectError(f"{path}: <{name}> is not a number: '{value}'") from None

    def flag(name: str) -> bool:
        # BOINC reads <x/> and <x>1</x> as true.
        return config.find(name) is not None and text(name) != "0"

    return ProjectConfig(
        project_dir=project_dir,
        db_name=text("db_name"),
        db_host=text("db_host"),
        db_user=text("db_user"),
        db_passwd=text("db_passwd"),
        daily_result_quota=number("daily_result_quota"),
        max_wus_in_progress=number("max_wus_in_progress"),
        enable_assignment=flag("enable_assignment"),
        send_result_abort=flag("send_result_abort"),
        credit_by_app=flag("credit_by_app"),
        host=text("host"),
        upload_dir=(project_dir / (text("upload_dir") or "upload")).absolute(),  # an absolute one stays as it is
        uldl_dir_fanout=max(0, number("uldl_dir_fanout")),
        daemons=tuple(_daemon(element) for element in root.findall("daemons/daemon")),
    )


def _daemon(element: ET.Element) -> DaemonEntry:
    def text(name: str) -> str:
        return (element.findtext(name) or "").strip()

    return DaemonEntry(
        cmd=text("cmd"),
        host=text("host"),
        # sched/start takes an empty <disabled/> for enabled.
        disabled=text("disabled") not in {"", "0"},
        pid_file=text("pid_file"),
        lock_file=text("lock_file"),
        output=text("output"),
    )
