"""Input templates: read and written as BOINC's create_work reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from axiomd.boinc import templates
from axiomd.boinc.templates import DEFAULTS, copy_path, declared, with_bounds, write_template
from axiomd.demo.backend_lib import process_input_template
from axiomd.demo.config import Config
from axiomd.demo.project import INPUT_TEMPLATE
from axiomd.errors import ProjectError
from axiomd.policies.sizing import Bounds

BOUNDS = Bounds(fpops_est=1.5e12, fpops_bound=2e13, memory=3e8, disk=2e9, delay_s=123_456.0)
DEMO = INPUT_TEMPLATE.format(input_file="wu.json", memory=2.42e9, delay_bound=20)

CASES = {
    "the demo's": (DEMO, Bounds(1e9, 1e12, 2.42e9, 1e8, 20.0)),
    "silent": ("<workunit>\n</workunit>", DEFAULTS),
    "twice: the last counts": (
        "<workunit><delay_bound>5</delay_bound><delay_bound>7</delay_bound></workunit>",
        DEFAULTS._replace(delay_s=7.0),
    ),
    "in a comment": (
        "<!-- <workunit></workunit> --><workunit>\n<!-- <delay_bound>5</delay_bound> -->\n</workunit>",
        DEFAULTS,
    ),
    "outside": ("<delay_bound>5</delay_bound><workunit></workunit>", DEFAULTS),
    "no number, and one with more behind it": (
        "<workunit><rsc_fpops_est>much</rsc_fpops_est><rsc_fpops_bound> 1e3x</rsc_fpops_bound></workunit>",
        DEFAULTS._replace(fpops_est=0.0, fpops_bound=1000.0),
    ),
}


@pytest.mark.parametrize(("template", "expected"), CASES.values(), ids=CASES)
def test_what_a_template_declares_is_read_and_replaced(template: str, expected: Bounds) -> None:
    assert declared(template) == expected
    copy = with_bounds(template, BOUNDS)
    assert declared(copy) == BOUNDS
    assert with_bounds(copy, BOUNDS) == copy
    assert with_bounds(with_bounds(template, DEFAULTS), BOUNDS) == copy
    assert copy.count("<!--") == template.count("<!--")


def test_create_work_takes_the_bounds_from_the_copy_and_all_else_from_the_original(tmp_path: Path) -> None:
    config = Config(project_dir=tmp_path, download_dir=str(tmp_path), uldl_dir_fanout=0)
    (tmp_path / "input").touch()
    document, columns = process_input_template(DEMO, ["input"], config, "")
    copied, copied_columns = process_input_template(with_bounds(DEMO, BOUNDS), ["input"], config, "")
    changed = {"rsc_fpops_est": 1.5e12, "rsc_fpops_bound": 2e13, "rsc_memory_bound": 3e8, "rsc_disk_bound": 2e9}
    assert copied_columns == columns | changed | {"delay_bound": 123_456}
    assert copied == document


@pytest.mark.parametrize("text", ["", "<input_template/>", "<!-- <workunit></workunit> -->", "<workunit>"])
def test_a_file_without_a_workunit_is_no_template(text: str) -> None:
    for read in (declared, lambda text: with_bounds(text, BOUNDS)):
        with pytest.raises(ProjectError, match="has no <workunit>"):
            read(text)


def test_a_template_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / copy_path("my app/../x", "lottery_ticket", 2)
    assert path.name == "my_app_.._x_lottery_ticket_v2_in"
    with pytest.raises(ProjectError, match="can't be written"):
        write_template(path, DEMO)  # the project has no folder of templates
    (tmp_path / "templates").mkdir()
    original = "<workunit><!-- \udcff --></workunit>"  # a byte that isn't UTF-8 stays what it is
    write_template(path, original)
    assert templates.read_template(path) == original
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert templates.read_template(tmp_path / "none") is None
