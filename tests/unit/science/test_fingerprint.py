"""The same cause has the same fingerprint, and nothing personal or executable is kept of a stranger's words."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiomd.policies.measurement import LONGEST_CLASS, LONGEST_DETAIL, LONGEST_PLACE, Failure
from axiomd.science.fingerprint import CLASSES, fingerprint, host_reason, of_output, of_report
from experiments.kit.order import OrderError, read_order

TRACEBACK = """Traceback (most recent call last):
  File "{0}worker.py", line 131, in perform
    measured = _measured(experiment, order, run["seed"], deadline, device)
               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "{0}spectral_dynamics.py", line 380, in summarize
    growth = last['top_sv_growth']
  File "/usr/lib/python3.11/statistics.py", line 327, in mean
    raise
{1}
"""
PLACE = "spectral_dynamics.py:380 summarize"


def report(traceback: str, message: str = "process exited with code 1 (0x1, -255)") -> str:
    return (
        f"<core_client_version>7.20.2</core_client_version>\n<![CDATA[\n<message>\n{message}</message>\n"
        f"<stderr_txt>\n{traceback}\n</stderr_txt>\n]]>"
    )


def raised(error: str, folder: str = "/var/lib/boinc/slots/3/") -> str:
    return report(TRACEBACK.format(folder, error))


DOWNLOAD = (
    "WU download error: couldn't get input files:\n<file_xfer_error>\n<error_code>{0}</error_code></file_xfer_error>"
)

REPORTS: dict[str, tuple[int, str, Failure, str]] = {
    "the logs' case": (1, raised("KeyError: 'top_sv_growth'"), Failure("KeyError", PLACE, "'top_sv_growth'"), "other"),
    "on Windows": (
        1,
        raised("KeyError: 'top_sv_growth'", "C:\\ProgramData\\BOINC\\slots\\3\\").replace("\n", "\r\n"),
        Failure("KeyError", PLACE, "'top_sv_growth'"),
        "other",
    ),
    "of a wrapper": (195, raised("ZeroDivisionError"), Failure("ZeroDivisionError", PLACE), "other"),
    "an earlier error was handled": (
        1,
        report("Traceback (most recent call last):\nOSError: x\n\nDuring handling of it:\n" + raised("ValueError: y")),
        Failure("ValueError", PLACE, "y"),
        "other",
    ),
    "numpy's memory error": (
        1,
        raised("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 1.53 GiB for shape (12345, 6)"),
        Failure("MemoryError", PLACE, "Unable to allocate N GiB for shape (N, 6)"),
        "memory",
    ),
    "a class nobody knows": (1, raised("evil.Name: <b>"), Failure("OtherError", PLACE, "evil.Name: b"), "other"),
    "a file that axiomd doesn't ship": (
        1,
        report('Traceback (most recent call last):\n  File "/home/x/evil.py", line 3, in f\nKeyError: 1'),
        Failure("KeyError", "", "1"),
        "other",
    ),
    "no traceback": (1, report("something else"), Failure("ExitStatus", "", "1"), "other"),
    "a traceback that doesn't end": (
        1,
        report(TRACEBACK.partition("{1}")[0]).partition("</stderr")[0],
        Failure("ExitStatus", "", "1"),
        "other",
    ),
    "nothing": (0, "", Failure("ExitStatus", "", "0"), "other"),
    "a status from nowhere": (123_456, "", Failure("ExitStatus"), "other"),
    "time limit": (
        197,
        report("", "exceeded elapsed time limit 100.0"),
        Failure("EXIT_TIME_LIMIT_EXCEEDED"),
        "time_limit",
    ),
    "memory limit": (198, "", Failure("EXIT_MEM_LIMIT_EXCEEDED"), "memory"),
    "disk limit": (196, "", Failure("EXIT_DISK_LIMIT_EXCEEDED"), "disk"),
    "disk full": (
        1,
        raised("OSError: [Errno 28] No space left on device: '/home/Ann Lee/x'"),
        Failure("OSError", PLACE, "Errno 28 No space left on device: ''"),
        "disk",
    ),
    "aborted by the volunteer": (203, report("", "aborted by user"), Failure("EXIT_ABORTED_VIA_GUI"), "user_abort"),
    "killed by a signal": (193, report("", "process got signal 11"), Failure("EXIT_SIGNAL", "", "signal 11"), "crash"),
    "a raw wait status": (139, report("", "process got signal 11"), Failure("EXIT_SIGNAL", "", "signal 11"), "crash"),
    "access violation": (-1073741819, report("", "(0xc0000005)"), Failure("ACCESS_VIOLATION"), "crash"),
    "download failed": (
        -186,
        report("", DOWNLOAD.format("-224 (permanent HTTP error)")),
        Failure("ERR_RESULT_DOWNLOAD", "", "ERR_HTTP_PERMANENT"),
        "download",
    ),
    "download altered": (
        -186,
        report("", DOWNLOAD.format("-119 (md5 checksum failed for file)")),
        Failure("ERR_RESULT_DOWNLOAD", "", "ERR_MD5_FAILED"),
        "download",
    ),
    "download failed for want of a certificate": (
        -186,
        report("", DOWNLOAD.format("-184") + "SSL certificate problem: unable to get local issuer"),
        Failure("ERR_RESULT_DOWNLOAD", "", "ERR_HTTP_TRANSIENT SSL"),
        "ssl",
    ),
    "Python's SSL error": (
        1,
        raised("ssl.SSLCertVerificationError: certificate verify failed (_ssl.c:1006)"),
        Failure("SSLCertVerificationError", PLACE, "certificate verify failed ( ssl.c:N)".replace(" ssl", "_ssl")),
        "ssl",
    ),
    "finished without its output file": (
        0,
        report("", "upload failure: <file_xfer_error><error_code>-161 (not found)</error_code>"),
        Failure("ERR_RESULT_UPLOAD", "", "ERR_NOT_FOUND"),
        "other",
    ),
}


@pytest.mark.parametrize(("status", "stderr", "failure", "reason"), REPORTS.values(), ids=REPORTS)
def test_what_boinc_reports(status: int, stderr: str, failure: Failure, reason: str) -> None:
    assert of_report(status, stderr) == failure
    assert host_reason(failure) == reason


OUTPUTS: dict[str, tuple[object, object, Failure]] = {
    "a class, as the worker writes it": ("NotFinite", None, Failure("NotFinite")),
    "a class and a message": ("KeyError: 'a'", None, Failure("KeyError", "", "'a'")),
    "the message alone, and a traceback": (
        "'a'",
        TRACEBACK.format("", "KeyError: 'a'"),
        Failure("KeyError", PLACE, "'a'"),
    ),
    "a traceback as the error": (TRACEBACK.format("", "KeyError: 'a'"), None, Failure("KeyError", PLACE, "'a'")),
    "a message alone": ("it broke", 5, Failure("OtherError", "", "it broke")),
    "no text at all": ({"a": [1]}, ["x"], Failure("OtherError")),
    "markup": ("<script>alert('x')</script>", None, Failure("OtherError")),
    "a formula": ("ValueError: =cmd|'x'!A0", None, Failure("ValueError", "", "cmd 'x' A0")),
    "addresses": (
        "ValueError: <object at 0x7f3a21c0> of ann@example.org 10.0.0.1",
        None,
        Failure("ValueError", "", "object at N of N"),
    ),
    "other letters": ("ValueError: \u202e\u0436\x1b[31mvet", None, Failure("ValueError", "", "31mvet")),
}


@pytest.mark.parametrize(("error", "traceback", "failure"), OUTPUTS.values(), ids=OUTPUTS)
def test_what_an_output_file_tells(error: object, traceback: object, failure: Failure) -> None:
    assert of_output(error, traceback) == failure


def test_the_same_cause_on_many_machines_is_one_fingerprint() -> None:
    seen = {
        fingerprint("spectral_dynamics", 1, of_report(1, raised(error, folder)))
        for error in ("KeyError: 'top_sv_growth'", "KeyError: 'other'")  # the place tells
        for folder in ("/var/lib/boinc/slots/3/", "C:\\Users\\Ann Lee\\BOINC\\slots\\12\\", "")
    }
    seen |= {fingerprint("spectral_dynamics", 1, of_output("KeyError", TRACEBACK.format("", "KeyError: 'x'")))}
    assert len(seen) == 1
    assert re.fullmatch("[0-9a-f]{16}", seen.pop())


def test_a_million_different_messages_of_one_kind_collapse() -> None:
    messages = [
        f"ValueError: host {n:08x} of user{n + 100}@example.org failed at 0x{n:012x} after {n + 1000} steps, "
        f"loss {n / 7:.9f}, in /home/u{n}/x and C:\\u{n}\\y"
        for n in range(0, 1_000_000, 997)
    ]
    assert len({fingerprint("x", 1, of_output(message)) for message in messages}) == 1


def test_what_differs_is_told_apart() -> None:
    one = Failure("KeyError", "", "'a'")
    others = [
        ("y", 1, one),
        ("x", 2, one),
        ("x", 1, one._replace(class_="ValueError")),
        ("x", 1, one._replace(detail="'b'")),
        ("x", 1, one._replace(place="worker.py:1 main")),
    ]
    assert len({fingerprint("x", 1, one), *(fingerprint(*other) for other in others)}) == 6


@pytest.mark.parametrize(
    "given", [{}, {"experiment": "none"}, {"seed": -1}, {"scale": 2}, {"gpu": 1}, {"seeds": 0}, {"budget_s": 0}]
)
def test_the_worker_s_words_are_classes(given: dict[str, object]) -> None:
    with pytest.raises(OrderError) as refused:
        read_order({}, {"experiment": "x"} | given if given else {}, None, ["x", "y"])
    assert of_output(refused.value.word).class_ == refused.value.word


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.text(max_size=300) | st.sampled_from([stderr for _, stderr, _, _ in REPORTS.values()]),
    st.text(max_size=100),
    st.integers(0, 400),
)
def test_whatever_a_machine_writes(status: int, text: str, more: str, at: int) -> None:
    stderr = text[:at] + more + text[at:]
    for failure in (of_report(status, stderr), of_output(stderr, more), of_output(more, stderr)):
        assert failure.class_ in CLASSES
        assert len(failure.class_) <= LONGEST_CLASS
        assert len(failure.detail) <= LONGEST_DETAIL
        assert re.fullmatch(r"[A-Za-z0-9_.,:'() -]*", failure.detail)
        assert len(failure.place) <= LONGEST_PLACE
        assert re.fullmatch(r"(?:[a-z0-9_]+\.py:[0-9]+(?: [A-Za-z_][A-Za-z0-9_]*)?)?", failure.place)
        assert len(fingerprint("x", 1, failure)) == 16


LONG: dict[str, str] = {
    "tracebacks": "Traceback (most recent call last):\n",
    "frames": '  File "',
    "dots": "a.",
    "hexadecimal": "0x",
    "dashes": "a-",
    "quotes": "'/",
    "tags": "<error_code>  ",
    "lines": "\n",
    "blanks": " ",
    "signals": "got signal ",
}


@pytest.mark.parametrize("part", LONG.values(), ids=LONG)
def test_long_texts_take_no_longer_than_their_length(part: str) -> None:
    begin = time.process_time()
    for text in (
        part * (1_000_000 // len(part)),
        "Traceback (most recent call last):\n" + part * (65_000 // len(part)),
    ):
        of_report(1, text)
        of_output(text, text)
    assert time.process_time() - begin < 0.2
