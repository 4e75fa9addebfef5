"""The errors that axiomd raises on purpose, typed by what to do next."""

from __future__ import annotations


class AxiomdError(Exception):
    """Something is wrong; the message names the thing and the next step, and is all that a person needs to see."""


class SettingsError(AxiomdError):
    """A setting is missing, unknown or out of range; the message names the file, the line and the setting."""


class ProjectError(AxiomdError):
    """The BOINC project is not as axiomd needs it: a file, a program, a table or a column is missing."""


class DatabaseUnavailable(AxiomdError):  # noqa: N818 - a state of the world, as DNS says NXDOMAIN
    """The database can't be reached or refuses the login; trying again later may help, unless the login is wrong."""


class SchemaError(AxiomdError):
    """axiomd's own tables are missing, half made, or made by a newer axiomd."""


class Conflict(AxiomdError):  # noqa: N818 - the database's word for it
    """A row changed between reading and locking it: nothing was written, and the next poll decides anew."""


class Fenced(AxiomdError):  # noqa: N818 - the word for it where there are fencing numbers
    """Another daemon holds the lease: nothing was written, and nothing may be, until the lease is taken again."""
