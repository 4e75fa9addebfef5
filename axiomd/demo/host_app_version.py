"""A host's record with one app version: its daily quota, and how long it takes.

Three of BOINC's programs change it, each writing its own columns absolutely, as it read them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pymysql.connections import Connection

from axiomd.demo import rows

# How turnarounds are averaged (BOINC's sched/credit.h, lib/average.h).
AVERAGE_THRESHOLD, AVERAGE_WEIGHT, AVERAGE_LIMIT = 20, 0.01, 10


def generalized_app_version_id(app_version_id: int, appid: int) -> int:
    """Id that a host's record has: anonymous platforms (negative ids) get one for each app and kind of processor."""
    return app_version_id if app_version_id >= 0 else appid * 1000000 - app_version_id


@dataclass
class HostAppVersion:
    """The columns of host_app_version that the stand-in uses, under BOINC's names."""

    host_id: int
    app_version_id: int
    max_jobs_per_day: int
    n_jobs_today: int
    consecutive_valid: int
    turnaround_n: float
    turnaround_avg: float
    turnaround_var: float
    turnaround_q: float

    @classmethod
    def read(cls, connection: Connection, host_id: int, app_version_id: int, appid: int) -> HostAppVersion | None:
        """Read the record of a host and the app version that a result ran with."""
        row = rows.select_one(
            connection,
            f"SELECT {', '.join(cls.__dataclass_fields__)} FROM host_app_version"
            " WHERE host_id = %s AND app_version_id = %s",
            host_id,
            generalized_app_version_id(app_version_id, appid),
        )
        return cls(**row) if row else None

    @classmethod
    def read_all(cls, connection: Connection, host_id: int) -> dict[int, HostAppVersion]:
        """All records of a host, by app_version_id."""
        found = rows.select(
            connection,
            f"SELECT {', '.join(cls.__dataclass_fields__)} FROM host_app_version WHERE host_id = %s",
            host_id,
        )
        return {row["app_version_id"]: cls(**row) for row in found}

    def lower_quota(self, daily_result_quota: int) -> None:
        """An error or a time-out: one job a day less, but never none."""
        quota = min(self.max_jobs_per_day or daily_result_quota, daily_result_quota)
        self.max_jobs_per_day = max(1, quota - 1)
        self.consecutive_valid = 0

    def double_quota(self, daily_result_quota: int) -> None:
        """A success was reported: back to the full quota in large steps."""
        if self.max_jobs_per_day < daily_result_quota:
            self.max_jobs_per_day = min(2 * self.max_jobs_per_day, daily_result_quota)

    def add_turnaround(self, sample: float) -> None:
        """Take a turnaround (seconds) into the average and its variance."""
        if self.turnaround_n and self.turnaround_avg:
            sample = min(sample, self.turnaround_avg * AVERAGE_LIMIT)
        self.turnaround_n += 1
        delta = sample - self.turnaround_avg
        if self.turnaround_n < AVERAGE_THRESHOLD:
            self.turnaround_avg += delta / self.turnaround_n
            self.turnaround_q += delta * (sample - self.turnaround_avg)
            self.turnaround_var = self.turnaround_q / self.turnaround_n
        else:
            self.turnaround_avg += AVERAGE_WEIGHT * delta
            self.turnaround_var += AVERAGE_WEIGHT * (delta * delta - self.turnaround_var)

    def write_timed_out(self, connection: Connection) -> None:
        """What the transitioner writes after a time-out."""
        self._write(
            connection,
            (
                "turnaround_n",
                "turnaround_avg",
                "turnaround_var",
                "turnaround_q",
                "max_jobs_per_day",
                "consecutive_valid",
            ),
        )

    def write_scheduler(self, connection: Connection) -> None:
        """What the scheduler writes at the end of a request."""
        self._write(connection, ("consecutive_valid", "max_jobs_per_day", "n_jobs_today"))

    def write_validator(self, connection: Connection) -> None:
        """What the validator writes for a result that it judged."""
        self._write(connection, ("consecutive_valid", "max_jobs_per_day"))

    def _write(self, connection: Connection, columns: tuple[str, ...]) -> None:
        rows.execute(
            connection,
            f"UPDATE host_app_version SET {', '.join(f'{name} = %s' for name in columns)}"
            " WHERE host_id = %s AND app_version_id = %s",
            *(getattr(self, name) for name in columns),
            self.host_id,
            self.app_version_id,
        )
