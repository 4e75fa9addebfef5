"""BOINC's numbers as enums (db/boinc_db_types.h, lib/error_numbers.h), and what a row says of a result's ending."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from axiomd.policies.credit import Ending

INT_MAX = 2_147_483_647
"""transition_time of a workunit that waits for something else than time."""


class ServerState(IntEnum):
    """result.server_state."""

    INACTIVE = 1
    UNSENT = 2
    IN_PROGRESS = 4
    OVER = 5


class Outcome(IntEnum):
    """result.outcome, once a result is OVER."""

    INIT = 0
    SUCCESS = 1
    COULDNT_SEND = 2
    CLIENT_ERROR = 3
    NO_REPLY = 4
    DIDNT_NEED = 5
    VALIDATE_ERROR = 6
    CLIENT_DETACHED = 7


class ValidateState(IntEnum):
    """result.validate_state."""

    INIT = 0
    VALID = 1
    INVALID = 2
    NO_CHECK = 3
    INCONCLUSIVE = 4
    TOO_LATE = 5


class AssimilateState(IntEnum):
    """workunit.assimilate_state."""

    INIT = 0
    READY = 1
    DONE = 2


class WuError(IntFlag):
    """Bits of workunit.error_mask."""

    COULDNT_SEND_RESULT = 1
    TOO_MANY_ERROR_RESULTS = 2
    TOO_MANY_SUCCESS_RESULTS = 4
    TOO_MANY_TOTAL_RESULTS = 8
    CANCELLED = 16
    NO_CANONICAL_RESULT = 32


class TargetType(IntEnum):
    """assignment.target_type."""

    NONE = 0
    HOST = 1
    USER = 2
    TEAM = 3


class ExitStatus(IntEnum):
    """Exit statuses of results that BOINC itself gives (lib/error_numbers.h)."""

    STATEFILE_WRITE = 192
    SIGNAL = 193
    ABORTED_BY_CLIENT = 194
    CHILD_FAILED = 195
    DISK_LIMIT_EXCEEDED = 196
    TIME_LIMIT_EXCEEDED = 197
    MEM_LIMIT_EXCEEDED = 198
    CLIENT_EXITING = 199
    UNSTARTED_LATE = 200
    MISSING_COPROC = 201
    ABORTED_BY_PROJECT = 202
    ABORTED_VIA_GUI = 203
    UNKNOWN = 204
    OUT_OF_MEMORY = 205
    INIT_FAILURE = 206
    NO_SUB_TASKS = 207
    SUB_TASK_FAILURE = 208
    OVERDUE_EXCEEDED = 209


CLIENT_FILES_UPLOADED = 5
"""result.client_state of a job that ran to its end and uploaded its files."""


def ending(server_state: int, outcome: int, validate_state: int, exit_status: int) -> Ending:
    """How a result ended, as far as payment goes.

    Not final, so that it may still become another: NO_REPLY (a late report is accepted), a success that isn't judged
    yet, NO_CHECK (a cancelled workunit's success may still become canonical).
    """
    if server_state != ServerState.OVER:
        return Ending.NOT_FINAL
    if outcome == Outcome.SUCCESS:
        if validate_state == ValidateState.VALID:
            return Ending.VALID
        if validate_state in (ValidateState.INVALID, ValidateState.TOO_LATE):
            return Ending.INVALID
        return Ending.NOT_FINAL
    if outcome == Outcome.CLIENT_ERROR:
        return Ending.ABORTED_BY_PROJECT if exit_status == ExitStatus.ABORTED_BY_PROJECT else Ending.FAILED
    if outcome == Outcome.NO_REPLY:
        return Ending.NOT_FINAL
    if outcome == Outcome.VALIDATE_ERROR:
        return Ending.INVALID
    return Ending.NOT_NEEDED
