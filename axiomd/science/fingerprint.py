"""What a failure was, read off what a stranger's machine says of it: the same for failures of the same cause.

Nothing of the text is kept but words of closed lists, a place in code that axiomd ships, and a few harmless letters.
Whatever a machine writes, this takes a time that grows with its length only.
"""

from __future__ import annotations

import builtins
import hashlib
import re
from pkgutil import iter_modules
from typing import Final

import experiments
from axiomd.boinc import error_numbers
from axiomd.boinc.error_numbers import name_of
from axiomd.policies.measurement import LONGEST_PLACE, Failure
from experiments import kit

OTHER: Final = "OtherError"
LONGEST_DETAIL: Final = 60
_LONGEST_TEXT: Final = 65_536
_LONGEST_LINE: Final = 400
_MOST_LINES: Final = 400

_ERRORS: Final = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
) | {
    # numpy and CuPy
    *("LinAlgError", "AxisError", "UFuncTypeError", "CUDARuntimeError", "CUDADriverError", "OutOfMemoryError"),
    *("CompileException", "NVRTCError", "CUBLASError", "CUSOLVERError", "CURANDError"),
    # the standard library
    *("JSONDecodeError", "BadZipFile", "URLError", "HTTPError", "SSLError", "SSLCertVerificationError"),
    *("CalledProcessError", "TimeoutExpired", "InvalidOperation", "BrokenProcessPool", "PackageNotFoundError"),
    # the worker's words (experiments/worker.py, experiments/kit/order.py)
    *("NoExperiment", "UnknownExperiment", "BadSeed", "BadSeeds", "BadScale", "BadBudget", "BadGpu", "NoGpu"),
    *("NoGpuVariant", "NoGpuError", "NotFinite", "OutOfTimeError", "OrderError"),
}
_SAME: Final = {
    "_ArrayMemoryError": "MemoryError",
    "_UFuncNoLoopError": "UFuncTypeError",
    "_UFuncOutputCastingError": "UFuncTypeError",
    "EnvironmentError": "OSError",
    "IOError": "OSError",
    "WindowsError": "OSError",
    "error": "OSError",
}

_VAGUE: Final = {error_numbers.NO_STATUS, 1, 2, error_numbers.CHILD_FAILED, error_numbers.UNKNOWN}
"""Exit statuses that say less than a traceback does."""

CLASSES: Final = (
    _ERRORS
    | {*error_numbers.NAMES.values(), *error_numbers.WINDOWS.values(), OTHER, "ExitStatus"}
    | {"EmptyOutput", "RefusedOutput", "Partial", "Invalid"}  # of the harvest
)
"""Every class that a failure can have."""

_FILES: Final = frozenset(
    f"{module.name}.py"
    for package in (experiments, kit)
    for module in iter_modules(package.__path__)
    if not module.ispkg
)

_FRAME: Final = re.compile(r'\s*File "([^"]{1,300})", line ([0-9]{1,6})(?:, in ([A-Za-z_]\w{0,39})(?!\w))?', re.ASCII)
_ERROR: Final = re.compile(r"((?:[A-Za-z_]\w{0,60}\.){0,6}[A-Za-z_]\w{0,60})(?: *: *(.*))?", re.ASCII)
_ERROR_CODE: Final = re.compile(r"<error_code>\s{0,4}(-?[0-9]{1,10})\b", re.ASCII)
_SIGNAL: Final = re.compile(r"got signal ([0-9]{1,2})\b", re.ASCII)
_TLS: Final = re.compile(r"\b(?:ssl|tls|certificate)\b", re.IGNORECASE | re.ASCII)
_HEX: Final = re.compile(r"(?<!\.)\b(?:0[xX][0-9a-fA-F]*|(?=[a-fA-F-]{0,36}[0-9])[0-9a-fA-F-]{8,})", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9][0-9.]*(?:[eE][+-]?[0-9]+)?", re.ASCII)
_HARMFUL: Final = re.compile(r"[^A-Za-z0-9 _.,:'()-]+")


def of_report(exit_status: int, stderr: str) -> Failure:
    """Give the failure of a result that BOINC calls an error, of its columns exit_status and stderr_out."""
    stderr = stderr[-_LONGEST_TEXT:]
    name = name_of(exit_status)
    if not name or exit_status in _VAGUE:
        raised = _of_traceback(stderr)
        if raised is not None:
            return raised
    code = _ERROR_CODE.search(stderr)
    inner = name_of(int(code[1])) if code else ""
    signal = _SIGNAL.search(stderr)
    if signal and (not name or exit_status == error_numbers.SIGNAL):  # without the name it is what wait() gave
        return Failure("EXIT_SIGNAL", detail=f"signal {signal[1]}")
    if name:
        words = [inner if inner != name else ""]
        if exit_status in {error_numbers.RESULT_DOWNLOAD, error_numbers.RESULT_UPLOAD} and _TLS.search(stderr):
            words.append("SSL")
        return Failure(name, detail=" ".join(filter(None, words)))
    if exit_status == error_numbers.NO_STATUS and inner:
        return Failure("ERR_RESULT_UPLOAD", detail=inner)
    return Failure("ExitStatus", detail=str(exit_status) if -128 <= exit_status < 256 else "")


def of_output(error: object, traceback: object = None) -> Failure:
    """Give the failure that an output file tells of: its error, a class or a class and a message, and a traceback."""
    raised = _of_traceback(traceback[-_LONGEST_TEXT:]) if isinstance(traceback, str) else None
    if raised is not None:
        return raised
    if not isinstance(error, str):
        return Failure(OTHER)
    if "Traceback (most" in error[:_LONGEST_TEXT]:
        return _of_traceback(error[:_LONGEST_TEXT]) or Failure(OTHER)
    return _of_message(error[:_LONGEST_LINE].strip().partition("\n")[0])


def fingerprint(experiment: str, version: int, failure: Failure) -> str:
    """Give 16 hexadecimal digits that are the same for failures of the same cause.

    Where the place is known it tells the cause, whatever the message; else the message's words do.
    """
    parts = [experiment, str(version), failure.class_, failure.place, "" if failure.place else failure.detail]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def host_reason(failure: Failure) -> str:
    """Say in a word why a host fails: memory, download, ssl, user_abort, time_limit, disk, crash or other."""
    class_, detail = failure.class_, failure.detail
    if class_ in {"SSLError", "SSLCertVerificationError"} or _TLS.search(detail):
        return "ssl"
    if class_ == "OSError" and "No space left" in detail:
        return "disk"
    return _HOST_REASONS.get(class_, "other")


_HOST_REASONS: Final = {
    **dict.fromkeys(
        ["MemoryError", "OutOfMemoryError", "EXIT_MEM_LIMIT_EXCEEDED", "EXIT_OUT_OF_MEMORY", "ERR_RSC_LIMIT_EXCEEDED"],
        "memory",
    ),
    **dict.fromkeys(
        [
            *("ERR_RESULT_DOWNLOAD", "ERR_GIVEUP_DOWNLOAD", "ERR_HTTP_PERMANENT", "ERR_HTTP_TRANSIENT"),
            *("ERR_MD5_FAILED", "ERR_RSA_FAILED", "ERR_WRONG_SIZE"),
        ],
        "download",
    ),
    **dict.fromkeys(["EXIT_ABORTED_VIA_GUI", "ERR_ABORTED_VIA_GUI", "CONTROL_C_EXIT"], "user_abort"),
    "EXIT_TIME_LIMIT_EXCEEDED": "time_limit",
    "EXIT_DISK_LIMIT_EXCEEDED": "disk",
    **dict.fromkeys(
        [
            "EXIT_SIGNAL",
            "ERR_TOO_MANY_EXITS",
            *(name for name in error_numbers.WINDOWS.values() if name != "CONTROL_C_EXIT"),
        ],
        "crash",
    ),
}


def _of_traceback(text: str) -> Failure | None:
    """Read the last traceback of a text, as Python prints them; None if there is none that ends."""
    _, found, rest = text.rpartition("Traceback (most recent call last):")
    if not found:
        return None
    place = ""
    for line in rest.split("\n", _MOST_LINES)[1:_MOST_LINES]:
        cut = line[:_LONGEST_LINE].rstrip()
        frame = _FRAME.match(cut)
        if frame:
            place = _place(frame) or place
        elif cut and not cut[0].isspace():
            return _of_message(cut, place)
    return None


def _place(frame: re.Match[str]) -> str:
    name = re.split(r"[/\\]", frame[1])[-1]
    if name not in _FILES:
        return ""
    return f"{name}:{int(frame[2])} {frame[3] or ''}".strip()[:LONGEST_PLACE]


def _of_message(message: str, place: str = "") -> Failure:
    """Read `Class: words`, or words alone, or a class alone."""
    match = _ERROR.fullmatch(message)
    name = match[1].rpartition(".")[2] if match else ""
    name = _SAME.get(name, name)
    if match is None or name not in CLASSES:
        return Failure(OTHER, place, _harmless(message))
    return Failure(name, place, _harmless(match[2] or ""))


def _harmless(message: str) -> str:
    """Give a message's first words without what differs from host to host, is personal or could be taken for code."""
    for quote in "'\"":
        pieces = message.split(quote)
        pieces[1::2] = ["" if "/" in piece or "\\" in piece else piece for piece in pieces[1::2]]
        message = quote.join(pieces)
    words = (word for word in message.split() if not any(letter in word for letter in "/\\@"))
    text = _HEX.sub("N", " ".join(words))
    text = _NUMBER.sub(lambda number: "N" if len(number[0]) > 2 else number[0], text)
    return " ".join(_HARMFUL.sub(" ", text).split()).lstrip(" .,:)-_")[:LONGEST_DETAIL].rstrip()
