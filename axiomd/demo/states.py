"""BOINC's states and limits, under BOINC's names (db/boinc_db_types.h, lib/error_numbers.h, lib/common_defs.h)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

INT_MAX = 2147483647  # a transition_time that never comes


class ServerState(IntEnum):
    """result.server_state."""

    INACTIVE = 1
    UNSENT = 2
    IN_PROGRESS = 4
    OVER = 5


class Outcome(IntEnum):
    """result.outcome, once the server_state is OVER."""

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


class FileDeleteState(IntEnum):
    """workunit.file_delete_state and result.file_delete_state."""

    INIT = 0
    READY = 1
    DONE = 2
    ERROR = 3


class WuError(IntFlag):
    """Bits of workunit.error_mask."""

    COULDNT_SEND_RESULT = 1
    TOO_MANY_ERROR_RESULTS = 2
    TOO_MANY_SUCCESS_RESULTS = 4
    TOO_MANY_TOTAL_RESULTS = 8
    CANCELLED = 16
    NO_CANONICAL_RESULT = 32


class TransitionerFlags(IntEnum):
    """workunit.transitioner_flags."""

    NORMAL = 0
    NONE = 1
    NO_NEW_RESULTS = 2


class Target(IntEnum):
    """assignment.target_type."""

    NONE = 0
    HOST = 1
    USER = 2
    TEAM = 3


class ClientState(IntEnum):
    """result.client_state, as the client reports it."""

    NEW = 0
    COMPUTE_ERROR = 3
    FILES_UPLOADED = 5
    ABORTED = 6


class ExitStatus(IntEnum):
    """Those exit statuses that BOINC's programs treat in a way of their own."""

    ABORTED_BY_PROJECT = 202
    ABORTED_VIA_GUI = 203
