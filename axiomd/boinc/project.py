"""The BOINC project as a daemon needs it at hand: its config.xml and the ids of its apps."""

from __future__ import annotations

from dataclasses import dataclass

from axiomd.boinc.config import ProjectConfig


@dataclass(frozen=True)
class Project:
    """The project and the apps that axiomd looks after."""

    config: ProjectConfig
    apps: dict[str, int]
    """Ids of the apps by name, in the order of the settings."""
    gpu_app_versions: frozenset[int] = frozenset()

    @property
    def app_ids(self) -> list[int]:
        """Ids of the apps."""
        return list(self.apps.values())
