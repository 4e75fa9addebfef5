"""BOINC's config.xml, and which of two passwords and hosts counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from axiomd.boinc.config import ProjectConfig, read_config
from axiomd.errors import ProjectError, SettingsError
from axiomd.opening import database_login
from axiomd.settings import DatabaseSettings


def config(folder: Path, inside: str) -> ProjectConfig:
    (folder / "config.xml").write_text(f"<boinc><config>{inside}</config><daemons/></boinc>", encoding="utf-8")
    return read_config(folder)


def test_what_is_given_is_read(tmp_path: Path) -> None:
    read = config(
        tmp_path,
        """<db_name>axiom</db_name> <db_host> db.example.org:3307 </db_host> <db_user>boinc</db_user>
        <db_passwd>hush&amp;quiet</db_passwd> <daily_result_quota> 500 </daily_result_quota>
        <max_wus_in_progress>8</max_wus_in_progress>""",
    )
    assert (read.project_dir, read.db_name, read.db_host, read.db_user) == (
        tmp_path,
        "axiom",
        "db.example.org:3307",
        "boinc",
    )
    assert read.db_passwd == "hush&quiet"
    assert (read.daily_result_quota, read.max_wus_in_progress) == (500, 8)


def test_what_is_missing_is_empty_none_or_off(tmp_path: Path) -> None:
    read = config(tmp_path, "")
    assert (read.db_name, read.db_host, read.db_user, read.db_passwd) == ("", "", "", "")
    assert (read.daily_result_quota, read.max_wus_in_progress) == (0, 0)
    assert [read.enable_assignment, read.send_result_abort, read.credit_by_app] == [False] * 3


@pytest.mark.parametrize(
    ("inside", "on"),
    [
        ("<enable_assignment/>", True),
        ("<enable_assignment>1</enable_assignment>", True),
        ("<enable_assignment> 1 </enable_assignment>", True),
        ("<enable_assignment>0</enable_assignment>", False),
        ("", False),
    ],
)
def test_a_flag_is_on_as_boinc_reads_it(tmp_path: Path, inside: str, *, on: bool) -> None:
    assert config(tmp_path, inside).enable_assignment is on


@pytest.mark.parametrize("number", ["many", "nan", "inf", "1,5"])
def test_a_number_that_is_none_is_named(tmp_path: Path, number: str) -> None:
    with pytest.raises(ProjectError, match=r"config\.xml: <daily_result_quota> is not a number"):
        config(tmp_path, f"<daily_result_quota>{number}</daily_result_quota>")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(None, r"config\.xml: No such file.*project\.dir", id="no file"),
        pytest.param("<boinc><config>", r"config\.xml: not valid XML", id="broken off"),
        pytest.param("", r"config\.xml: not valid XML", id="empty"),
        pytest.param("<boinc></boinc>", r"config\.xml: no <config> inside <boinc>", id="no <config>"),
        pytest.param("<html><body/></html>", r"no <config> inside <html>", id="another file"),
    ],
)
def test_a_file_that_is_not_boincs_is_refused(tmp_path: Path, text: str | None, complaint: str) -> None:
    if text is not None:
        (tmp_path / "config.xml").write_text(text)
    with pytest.raises(ProjectError, match=complaint):
        read_config(tmp_path)


def test_the_password_is_never_shown(tmp_path: Path) -> None:
    read = config(tmp_path, "<db_passwd>hush</db_passwd>")
    login = database_login(DatabaseSettings(), read)
    assert login.password == "hush"
    assert "hush" not in repr(read) + str(read) + repr(login) + str(login)


@pytest.mark.parametrize(
    ("db_host", "settings", "host", "port"),
    [
        ("", {}, "localhost", 3306),
        ("db.example.org", {}, "db.example.org", 3306),
        ("db.example.org:3307", {}, "db.example.org", 3307),
        ("db.example.org:3307", {"port": 3308}, "db.example.org", 3308),
        ("db.example.org:3307", {"host": "other"}, "other", 3306),
    ],
)
def test_where_the_database_is(tmp_path: Path, db_host: str, settings: dict[str, object], host: str, port: int) -> None:
    login = database_login(DatabaseSettings.model_validate(settings), config(tmp_path, f"<db_host>{db_host}</db_host>"))
    assert (login.host, login.port) == (host, port)


def test_a_port_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"<db_host> has no valid port: 'db:many'"):
        database_login(DatabaseSettings(), config(tmp_path, "<db_host>db:many</db_host>"))


def test_which_password_counts(tmp_path: Path) -> None:
    read = config(tmp_path, "<db_passwd>of config.xml</db_passwd>")
    file = tmp_path / "password"
    file.write_text("of the file\nsecond line\n")
    assert database_login(DatabaseSettings(password_file=file), read).password == "of the file"
    both = DatabaseSettings(password=SecretStr("of the settings"), password_file=file)
    assert database_login(both, read).password == "of the settings"


def test_a_password_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    read = config(tmp_path, "")
    file = tmp_path / "password"
    with pytest.raises(SettingsError, match=f"database.password_file: {file}"):
        database_login(DatabaseSettings(password_file=file), read)
    file.touch()
    with pytest.raises(SettingsError, match="password_file"):
        database_login(DatabaseSettings(password_file=file), read)
