"""The stand-in's create_work, called as an operator or axiomd calls BOINC's: its command line, and what it leaves."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymysql.cursors import DictCursor

from axiomd.demo import create_work, project
from axiomd.demo.mariadb import PrivateMariaDB
from axiomd.demo.states import INT_MAX, Target, TransitionerFlags

INPUT = "wu_test.json"


class Project:
    """A project's folder with its create_work, and a look into its database."""

    def __init__(self, folder: Path, server: PrivateMariaDB) -> None:
        self.folder = folder
        self.server = server
        self.config = project.make_folder(folder, server, delay_bound=500)
        project.stage_file(self.config, INPUT, {"experiment": "test"})

    def create_work(self, *words: str, lines: str = "") -> subprocess.CompletedProcess[str]:
        program = self.folder / "bin" / "create_work"
        return subprocess.run(
            [program, *words], cwd=self.folder, input=lines, capture_output=True, text=True, check=False
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.server.connect(project.DATABASE) as connection, connection.cursor(DictCursor) as cursor:
            cursor.execute(f"SELECT * FROM {table} ORDER BY id")
            return list(cursor.fetchall())

    def names(self) -> list[str]:
        return [row["name"] for row in self.rows("workunit")]


@pytest.fixture(scope="module")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMariaDB]:
    with PrivateMariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def demo_project(demo_server: PrivateMariaDB, tmp_path: Path) -> Iterator[Project]:
    project.make_database(demo_server)
    yield Project(tmp_path, demo_server)
    with demo_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {project.DATABASE}")


def test_an_untargeted_job_is_due_at_once(demo_project: Project) -> None:
    done = demo_project.create_work("--appname", "axiom", "--wu_name", "one", "--priority", "7", "--batch", "3", INPUT)

    assert done.returncode == 0, done.stderr
    (workunit,) = demo_project.rows("workunit")
    assert workunit["transitioner_flags"] == TransitionerFlags.NORMAL
    assert workunit["transition_time"] == workunit["create_time"]
    assert (workunit["name"], workunit["priority"], workunit["batch"]) == ("one", 7, 3)
    assert b"<open_name>wu.json</open_name>" in workunit["xml_doc"]
    assert INPUT.encode() in workunit["xml_doc"]


def test_a_targeted_job_waits_for_its_host(demo_project: Project) -> None:
    done = demo_project.create_work("-appname", "axiom", "-wu_name", "one", "-target_host", "5", INPUT)

    assert done.returncode == 0, done.stderr
    (workunit,), (assignment,) = demo_project.rows("workunit"), demo_project.rows("assignment")
    assert workunit["transitioner_flags"] == TransitionerFlags.NO_NEW_RESULTS
    assert workunit["transition_time"] == INT_MAX
    assert (assignment["target_type"], assignment["target_id"], assignment["multi"]) == (Target.HOST, 5, 0)
    assert assignment["workunitid"] == workunit["id"]


def test_the_template_wins_over_the_command_line(demo_project: Project) -> None:
    demo_project.create_work(
        "--appname", "axiom", "--delay_bound", "9", "--target_nresults", "2", "--hr_class", "4", INPUT
    )

    (workunit,) = demo_project.rows("workunit")
    assert (workunit["delay_bound"], workunit["target_nresults"], workunit["hr_class"]) == (500, 1, 4)


def test_a_job_without_a_name_gets_one_and_says_it(demo_project: Project) -> None:
    done = demo_project.create_work("--appname", "axiom", INPUT)

    (name,) = demo_project.names()
    assert name.startswith("axiom_")
    assert done.stdout == f"workunit name: {name}\n"


def test_lines_of_the_input_make_a_job_each(demo_project: Project) -> None:
    lines = (
        f"--wu_name free --priority 2 {INPUT}\n"
        f"--wu_name bound --target_host 3 --command_line '--width 8' {INPUT}\n"
        f"--target_user 4 {INPUT}\n"
    )
    done = demo_project.create_work("--appname", "axiom", "--wu_name", "batch", "--stdin", lines=lines)

    assert done.returncode == 0, done.stderr
    workunits = {row["name"]: row for row in demo_project.rows("workunit")}
    assert set(workunits) == {"free", "bound", "batch_2"}
    assert workunits["free"]["priority"] == 2
    assert workunits["free"]["transitioner_flags"] == TransitionerFlags.NORMAL
    assert b"--width 8" in workunits["bound"]["xml_doc"]
    targets = {(row["workunitid"], row["target_type"], row["target_id"]) for row in demo_project.rows("assignment")}
    assert targets == {
        (workunits["bound"]["id"], Target.HOST, 3),
        (workunits["batch_2"]["id"], Target.USER, 4),
    }


def test_untargeted_lines_are_made_all_or_none(demo_project: Project) -> None:
    demo_project.create_work("--appname", "axiom", "--wu_name", "b", INPUT)

    done = demo_project.create_work(
        "--appname", "axiom", "--stdin", lines="".join(f"--wu_name {name} {INPUT}\n" for name in "abc")
    )

    assert done.returncode == 1
    assert "MySQL error: Duplicate entry 'b' for key 'name'" in done.stderr
    assert demo_project.names() == ["b"]


def test_targeted_lines_before_a_collision_stay_made(demo_project: Project) -> None:
    demo_project.create_work("--appname", "axiom", "--wu_name", "b", INPUT)

    done = demo_project.create_work(
        "--appname",
        "axiom",
        "--stdin",
        lines="".join(f"--wu_name {name} --target_host 1 {INPUT}\n" for name in "abc"),
    )

    assert done.returncode == 1
    assert "Database error: Duplicate entry 'b' for key 'name'" in done.stderr
    assert sorted(demo_project.names()) == ["a", "b"]
    assert len(demo_project.rows("assignment")) == 1


def test_a_missing_input_template_is_an_error(demo_project: Project) -> None:
    done = demo_project.create_work("--appname", "axiom", "--wu_template", "templates/none", INPUT)

    assert done.returncode == 1
    assert done.stderr == "create_work: input template file templates/none doesn't exist\n"


def test_a_missing_result_template_leaves_an_assignment_for_workunit_0(demo_project: Project) -> None:
    done = demo_project.create_work(
        "--appname", "axiom", "--result_template", "templates/none", "--target_host", "1", INPUT
    )

    assert done.returncode == 0
    assert "doesn't exist" in done.stderr
    assert demo_project.names() == []
    assert [row["workunitid"] for row in demo_project.rows("assignment")] == [0]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--appname", "other", INPUT), "create_work: app not found"),
        (("--appname", "axiom"), "0 input files given, but template has 1"),
        (("--appname", "axiom", "missing.json"), "missing.json"),
        (("--appname", "axiom", "--no_such_option"), "create_work: bad argument '--no_such_option'"),
        (("--appname", "axiom", "--target_host", "0", INPUT), "nonzero database ID"),
        (("--appname", "axiom", "--priority", "high", INPUT), "needs a number"),
        ((INPUT,), "usage: create_work"),
    ],
)
def test_what_cannot_be_made_is_said_in_words(demo_project: Project, words: tuple[str, ...], complaint: str) -> None:
    done = demo_project.create_work(*words)

    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert demo_project.names() == []


def test_outside_a_project_the_config_file_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert create_work.main(["--appname", "axiom"], io.StringIO()) == 1
    assert "Can't parse config file: config.xml" in capsys.readouterr().err
