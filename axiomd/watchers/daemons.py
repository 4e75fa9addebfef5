"""Do BOINC's own daemons do their work? -> DaemonDown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import structlog

from axiomd import metrics
from axiomd.boinc import daemons, workunits
from axiomd.boinc.config import read_config
from axiomd.events import DaemonDown, Event
from axiomd.settings import Settings
from axiomd.store.database import Database

log = structlog.get_logger(__name__)

TRANSITIONER = "transitioner"


class Daemons:
    """The watcher of BOINC's daemons: who holds no lock is down; transitions that stay overdue say more of the one."""

    name = "daemons"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._project_dir = settings.project.dir
        self._repair = settings.repair
        self._told: set[str] = set()
        self.interval_s = settings.repair.interval_s

    async def poll(self, now: float) -> AsyncIterator[Sequence[Event]]:
        """Look at the earliest transition that is due, and at the lock file of each daemon."""
        async with self._database.session() as session:
            due_at = await workunits.overdue_transition(session)
        lag_s = max(now - due_at, 0.0) if due_at is not None else 0.0
        metrics.TRANSITIONER_LAG.set(lag_s)
        down = dict.fromkeys(self._down(), 0.0)
        if lag_s > self._repair.transitioner_behind_s:
            down[TRANSITIONER] = lag_s
        yield [DaemonDown(daemon, lag) for daemon, lag in down.items()]

    def _down(self) -> list[str]:
        """Names of the daemons of this machine that are down and not meant to be."""
        # Read anew each time, as BOINC's own programs do: an operator adds a daemon while axiomd runs.
        config = read_config(self._project_dir)
        host = daemons.local_host()
        found = daemons.local_daemons(config, host)
        metrics.BOINC_DAEMON_UP.clear()
        for daemon in found:
            if daemon.trouble:
                self._tell(daemon.trouble)
            else:
                metrics.BOINC_DAEMON_UP.labels(daemon.name).set(daemon.runs)
        if not daemons.is_enabled(self._project_dir, host):
            return []
        return [daemon.name for daemon in found if not daemon.runs and not daemon.trouble]

    def _tell(self, trouble: str) -> None:
        if trouble not in self._told:
            self._told.add(trouble)
            log.warning("it can't be told whether a BOINC daemon runs: let axiomd's user read this", trouble=trouble)
