"""BOINC's daemons as the demo runs them: a thread each, one pass after another, each with a connection of its own."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager

from pymysql.connections import Connection

from axiomd.demo import transitioner, validator
from axiomd.demo.config import Config

SLEEP_S = 0.5  # BOINC's sleep 5 s between two passes; in the demo time runs faster


class Daemon(threading.Thread):
    """One of BOINC's daemons. `failure` is what it ended of, if it ended by itself."""

    def __init__(
        self, name: str, connection: Connection, config: Config, pause: AbstractContextManager[object]
    ) -> None:
        """`name` is transitioner or validator; no pass begins while another thread holds `pause`."""
        super().__init__(name=name)
        self.failure: Exception | None = None
        self._connection = connection
        self._config = config
        self._pause = pause
        self._stopping = threading.Event()

    def run(self) -> None:
        """Make passes until `stop`."""
        try:
            while not self._stopping.wait(SLEEP_S):
                with self._pause:
                    if self.name == "transitioner":
                        transitioner.one_pass(self._connection, int(time.time()), self._config)
                    else:
                        validator.one_pass(self._connection, int(time.time()))
        except Exception as error:  # noqa: BLE001 - handed to the main thread, which says what happened
            self.failure = error

    def stop(self) -> None:
        """End after the pass in hand."""
        self._stopping.set()
        if self.ident is not None:  # it was started
            self.join()
