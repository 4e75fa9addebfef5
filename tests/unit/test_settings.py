"""The settings file: what is wrong is named by file, line and setting; passwords are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from axiomd.errors import SettingsError
from axiomd.policies.presets import apply_preset
from axiomd.settings import Settings, load, rows

PROJECT = '[project]\ndir = "/srv/axiom"\napps = ["axiom"]\n'


def file(folder: Path, text: str) -> Path:
    path = folder / "axiomd.toml"
    path.write_text(PROJECT + text, encoding="utf-8")
    return path


def test_all_but_the_project_has_a_default(tmp_path: Path) -> None:
    settings = load(file(tmp_path, ""))
    assert settings.project.dir == Path("/srv/axiom")
    assert settings.project.apps == ("axiom",)
    assert (settings.credit.policy, settings.credit.flat) == ("flat", 2.0)
    assert settings.abort.stuck_after_s == 12 * 3600
    assert settings.experiments == {}


def test_what_the_file_says_is_taken(tmp_path: Path) -> None:
    settings = load(
        file(
            tmp_path,
            """
[credit]
policy = "tiers"
tiers = [[0, 5], [30, 15]]
failures = { 203 = 10, -186 = 0.5 }

[experiments.micro_scaling_laws]
weight = 3
inputs = ["wu.json"]
""",
        )
    )
    assert settings.credit.tiers == ((0, 5), (30, 15))
    assert settings.credit.failures == {203: 10, -186: 0.5}
    assert settings.experiments["micro_scaling_laws"].weight == 3


# Each text follows the three lines of [project].
WRONG = [
    pytest.param("[credit]\ncapp = 5\n", 5, "credit.capp: unknown setting", id="unknown key"),
    pytest.param("[credt]\ncap = 5\n", 4, "credt: unknown setting", id="unknown table"),
    pytest.param("\n# more\n[credit]\nenabled = true\ncap = -1\n", 8, "credit.cap: Input should be", id="below range"),
    pytest.param("[hosts]\nfleet_silent_share = 1.5\n", 5, "hosts.fleet_silent_share: Input", id="above range"),
    pytest.param("[database]\nport = 70000\n", 5, "database.port: Input should be", id="no port"),
    pytest.param("[credit]\nbatch = 0\n", 5, "credit.batch: Input should be", id="a batch of nothing"),
    pytest.param("[abort]\nstuck_after_s = 0\n", 5, "abort.stuck_after_s: Input should be", id="no time at all"),
    pytest.param("[abort]\nstuck_after_s = nan\n", 5, "abort.stuck_after_s: ", id="not a number"),
    pytest.param("[abort]\nstuck_after_s = inf\n", 5, "abort.stuck_after_s: must be a finite number", id="endless"),
    pytest.param("[credit]\ncap = inf\n", 5, "credit.cap: must be a finite number", id="an endless cap"),
    pytest.param("[credit]\ncap = nan\n", 5, "credit.cap: ", id="a cap that is no number"),
    pytest.param("[hosts]\nfleet_silent_share = nan\n", 5, "hosts.fleet_silent_share: ", id="a share that is none"),
    pytest.param('[credit]\ncap = "many"\n', 5, "credit.cap: Input should be a valid number", id="words for a number"),
    pytest.param('[credit]\npolicy = "fair"\n', 5, "credit.policy: Input should be 'flat'", id="no such policy"),
    pytest.param('[credit]\npolicy = "tiers"\n', 4, "credit: policy 'tiers' needs tiers", id="tiers not given"),
    pytest.param("[credit]\ntiers = [[30, 5], [0, 1]]\n", 5, "credit.tiers: ", id="tiers that don't ascend"),
    pytest.param("[credit]\ntiers = [[0, 5], [0, 1]]\n", 5, "credit.tiers: ", id="a tier twice"),
    pytest.param("[credit]\ntiers = [[0, nan]]\n", 5, "credit.tiers: ", id="a tier of no number"),
    pytest.param('[credit.failures]\n"crash" = 5\n', 5, "credit.failures.crash", id="no exit status"),
    pytest.param("[credit]\nfailures = { 203 = -1 }\n", 5, "credit.failures.203: Input", id="a negative consolation"),
    pytest.param(
        "[experiments.Grokking]\n", 4, "experiments.Grokking: 'Grokking' is no experiment's name", id="no name"
    ),
    pytest.param("[experiments.a]\ntarget = 0\n", 5, "experiments.a.target: Input should be", id="no target"),
    pytest.param("[experiments.a]\nwieght = 1\n", 5, "experiments.a.wieght: unknown setting", id="a misspelt key"),
    pytest.param("credit = 5\n", 4, "project.credit: unknown setting", id="a key in the wrong table"),
]


@pytest.mark.parametrize(("text", "line", "complaint"), WRONG)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, complaint: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    (told,) = str(caught.value).splitlines()
    assert told.startswith(f"{path}:{line}: {complaint}")


def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    path = file(tmp_path, "[credit]\ncap = -1\nflat = -2\n[log]\nlevel = 'loud'\n")
    with pytest.raises(SettingsError) as caught:
        load(path)
    named = {line.split(": ")[1] for line in str(caught.value).splitlines()}
    assert named == {"credit.cap", "credit.flat", "log.level"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "project: missing setting", id="an empty file"),
        pytest.param("[project]\napps = ['axiom']\n", "1: project.dir: missing setting", id="no folder"),
        pytest.param("[project]\ndir = '/x'\napps = []\n", "3: project.apps: ", id="no app"),
        pytest.param("[project\n", "not valid TOML", id="not TOML"),
        pytest.param("a = 1\na = 2\n", "not valid TOML", id="a key twice"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "axiomd.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:")
    assert complaint in str(caught.value)


def test_a_file_that_is_not_there_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"No such file.*--config"):
        load(tmp_path / "none.toml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "axiomd.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not a UTF-8 text file"):
        load(path)


# The environment.


def test_an_environment_variable_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, "[credit]\ncap = 5\nflat = 3\n[experiments.a]\nweight = 1\ntarget = 7\n")
    monkeypatch.setenv("AXIOMD_CREDIT__CAP", "20000")
    monkeypatch.setenv("AXIOMD_DAEMON__DRY_RUN", "true")
    monkeypatch.setenv("AXIOMD_EXPERIMENTS__A__WEIGHT", "2.5")
    settings = load(path)
    assert (settings.credit.cap, settings.credit.flat) == (20_000, 3)
    assert settings.daemon.dry_run
    assert (settings.experiments["a"].weight, settings.experiments["a"].target) == (2.5, 7)


def test_the_variable_that_names_the_file_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXIOMD_CONFIG", "/etc/axiomd/axiomd.toml")
    assert load(file(tmp_path, "")).project.apps == ("axiom",)


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("AXIOMD_CREDIT__CAP", "-1", "credit.cap"),
        ("AXIOMD_CREDIT__CAP", "nan", "credit.cap"),
        ("AXIOMD_CREDIT__CAPP", "1", "credit.capp"),
    ],
)
def test_a_wrong_environment_variable_is_refused_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, setting: str
) -> None:
    """Not by a line of the file, where nothing is wrong."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(file(tmp_path, "[credit]\ncap = 5\n"))
    assert setting in str(caught.value)
    assert name in str(caught.value)


# Secrets.


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    settings = load(file(tmp_path, '[database]\npassword = "hush"\n'))
    assert settings.database.password.get_secret_value() == "hush"
    shown = repr(settings) + str(settings) + repr(rows(settings)) + repr(settings.model_dump())
    assert "hush" not in shown
    assert "hush" not in settings.model_dump_json()


def test_a_password_of_the_wrong_kind_is_not_repeated_in_the_complaint(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(file(tmp_path, '[database]\npassword = ["hush"]\n'))
    assert "database.password" in str(caught.value)
    assert "hush" not in str(caught.value)


# What `axiomd config show` prints.


def test_every_setting_has_a_row_with_a_description(tmp_path: Path) -> None:
    settings = load(file(tmp_path, "[experiments.a]\nweight = 2\n"))
    found = {name: (value, description) for name, value, description in rows(settings)}
    assert found["experiments.a.weight"][0] == 2
    assert found["credit.cap"][0] == 50_000
    sections = {name.split(".")[0] for name in found}
    assert sections == set(Settings.model_fields)
    assert [name for name, (_, description) in found.items() if not description] == []


def test_a_preset_in_the_file_fills_in_what_the_file_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, '[credit]\npreset = "2026-03-02-1300"\nflat = 3.0\n')
    monkeypatch.setenv("AXIOMD_CREDIT__CAP", "123")
    credit = apply_preset(load(path).credit)
    assert (credit.policy, credit.tiers[-1], credit.flat, credit.cap) == ("tiers", (1200.0, 100.0), 3.0, 123.0)


def test_a_preset_that_is_not_shipped_is_named(tmp_path: Path) -> None:
    settings = load(file(tmp_path, '[credit]\npreset = "2026-04-01"\n'))
    with pytest.raises(SettingsError, match=r"credit\.preset: there is no '2026-04-01'; choose one of 2026-03-01"):
        apply_preset(settings.credit)


def test_settings_do_not_change_after_they_were_read(tmp_path: Path) -> None:
    settings = load(file(tmp_path, ""))
    with pytest.raises(ValueError, match="frozen"):
        settings.credit.cap = 1e9  # type: ignore[misc]


def test_a_variable_that_is_no_section_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "axiomd.toml"
    path.write_text('[project]\ndir = "/x"\napps = ["a"]\n')
    monkeypatch.setenv("AXIOMD_HOSTS", "/nowhere")
    with pytest.raises(SettingsError, match=r'environment: .*"hosts".*AXIOMD_SECTION__KEY'):
        load(path)
