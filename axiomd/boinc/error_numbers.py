"""BOINC's names of the exit statuses and error codes of results, as in its lib/error_numbers.h.

Apart from states.py, because the process that reads strangers' files loads as little as it can.
"""

from __future__ import annotations

from typing import Final

NAMES: Final = {
    -108: "ERR_FOPEN",
    -112: "ERR_XML_PARSE",
    -114: "ERR_GIVEUP_DOWNLOAD",
    -115: "ERR_GIVEUP_UPLOAD",
    -119: "ERR_MD5_FAILED",
    -120: "ERR_RSA_FAILED",
    -131: "ERR_FILE_TOO_BIG",
    -147: "ERR_FORK",
    -148: "ERR_EXEC",
    -161: "ERR_NOT_FOUND",
    -163: "ERR_FILE_MISSING",
    -177: "ERR_RSC_LIMIT_EXCEEDED",
    -184: "ERR_HTTP_TRANSIENT",
    -185: "ERR_RESULT_START",
    -186: "ERR_RESULT_DOWNLOAD",
    -187: "ERR_RESULT_UPLOAD",
    -197: "ERR_ABORTED_VIA_GUI",
    -200: "ERR_WRONG_SIZE",
    -224: "ERR_HTTP_PERMANENT",
    -226: "ERR_TOO_MANY_EXITS",
    192: "EXIT_STATEFILE_WRITE",
    193: "EXIT_SIGNAL",
    194: "EXIT_ABORTED_BY_CLIENT",
    195: "EXIT_CHILD_FAILED",
    196: "EXIT_DISK_LIMIT_EXCEEDED",
    197: "EXIT_TIME_LIMIT_EXCEEDED",
    198: "EXIT_MEM_LIMIT_EXCEEDED",
    199: "EXIT_CLIENT_EXITING",
    200: "EXIT_UNSTARTED_LATE",
    201: "EXIT_MISSING_COPROC",
    202: "EXIT_ABORTED_BY_PROJECT",
    203: "EXIT_ABORTED_VIA_GUI",
    204: "EXIT_UNKNOWN",
    205: "EXIT_OUT_OF_MEMORY",
    206: "EXIT_INIT_FAILURE",
    207: "EXIT_NO_SUB_TASKS",
    208: "EXIT_SUB_TASK_FAILURE",
    209: "EXIT_OVERDUE_EXCEEDED",
}
"""Those that results are seen with."""
WINDOWS: Final = {
    0xC0000005: "ACCESS_VIOLATION",
    0xC000001D: "ILLEGAL_INSTRUCTION",
    0xC00000FD: "STACK_OVERFLOW",
    0xC0000135: "DLL_NOT_FOUND",
    0xC0000139: "ENTRYPOINT_NOT_FOUND",
    0xC000013A: "CONTROL_C_EXIT",
    0xC0000142: "DLL_INIT_FAILED",
    0xC0000374: "HEAP_CORRUPTION",
    0xC0000409: "STACK_BUFFER_OVERRUN",
}
"""Exit statuses of Windows (ntstatus.h), which BOINC reports as signed numbers."""

NO_STATUS: Final = 0
RESULT_DOWNLOAD: Final = -186
RESULT_UPLOAD: Final = -187
SIGNAL: Final = 193
CHILD_FAILED: Final = 195
UNKNOWN: Final = 204


def name_of(exit_status: int) -> str:
    """Give the name of an exit status or error code; empty if it has none."""
    return NAMES.get(exit_status) or WINDOWS.get(exit_status % 2**32, "")
