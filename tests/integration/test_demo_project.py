"""The demo's project and settings file: what an operator would write, read by axiomd itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from axiomd import settings as axiomd_settings
from axiomd.demo import fleet, operations, project
from axiomd.demo.config import Config, ConfigError
from axiomd.demo.fleet import FEWEST_HOSTS, Role
from axiomd.demo.mariadb import PrivateMariaDB


def test_axiomd_reads_the_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "axiomd.toml"
    operations.write_settings(path, folder=tmp_path, socket_path=tmp_path / "sock", port=1234)

    settings = axiomd_settings.load(path)

    assert settings.http.port == 1234
    assert set(settings.experiments) == set(operations.EXPERIMENTS)
    assert settings.topup.memory_share == operations.MEMORY_SHARE
    assert settings.abort.ceiling_s == settings.abort.ceiling_delay_bounds * operations.DELAY_BOUND_S


def test_the_folder_is_a_projects(tmp_path: Path) -> None:
    config = project.make_folder(tmp_path, PrivateMariaDB(tmp_path / "mariadb"))

    assert config == Config.load(tmp_path)
    assert (config.db_name, config.uldl_dir_fanout, config.enable_assignment) == ("axiom", 1024, 1)
    assert Path(config.upload_dir).is_dir()
    assert (tmp_path / "bin" / "create_work").stat().st_mode & 0o111


@pytest.mark.parametrize("text", ["<boinc></boinc>", "<boinc>", None])
def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.xml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.xml"):
        Config.load(tmp_path)


@pytest.mark.parametrize("count", [FEWEST_HOSTS, 14, 30])
def test_a_fleet_has_every_role_and_a_seed_repeats_it(count: int) -> None:
    specs = fleet.draw(count, random.Random(5))

    assert specs == fleet.draw(count, random.Random(5))
    assert len({spec.name for spec in specs}) == len(specs) == count
    assert {spec.role for spec in specs} == set(Role)
    assert {2, 64} <= {spec.ncpus for spec in specs}
    assert (min(spec.memory_gb for spec in specs), max(spec.memory_gb for spec in specs)) == (3, 256)


def test_a_host_with_too_little_memory_has_no_usable_core() -> None:
    usable = {
        spec.role: spec.usable_cores(operations.JOB_MEMORY, operations.MEMORY_SHARE)
        for spec in fleet.SPECS
        if spec.role is not Role.STEADY
    }
    assert usable.pop(Role.SMALL) == 0
    assert min(usable.values()) > 0


def test_metrics_are_read_from_prometheus_text() -> None:
    text = '# HELP a b\n# TYPE a counter\na 3\nb_total{reason="stuck"} 2\nb_total{reason="ceiling"} 1.5\n'
    metrics = operations.Metrics(dict(operations.parse_metrics(text)))
    assert (metrics.total("a"), metrics.total("b_total"), metrics.total("c")) == (3, 3.5, 0)
