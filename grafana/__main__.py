"""The command `python -m grafana`: writes the dashboards; with --figures also draws them, from a run of the demo."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.credit import credit
from grafana.daemon import daemon
from grafana.experiments import experiments
from grafana.fleet import fleet

BOARDS: Final[dict[str, Callable[[], Dashboard]]] = {
    "fleet": fleet,
    "credit": credit,
    "experiments": experiments,
    "daemon": daemon,
}
"""Each dashboard by the name of its file."""

FOLDER: Final = Path(__file__).parent / "dashboards"


def text(name: str) -> str:
    """Give a dashboard as the JSON that Grafana reads."""
    return json.dumps(BOARDS[name]().build(), cls=JSONEncoder, indent=2) + "\n"


def write(folder: Path) -> None:
    """Write every dashboard; raises OSError if the folder can't be written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in BOARDS:
        (folder / f"{name}.json").write_text(text(name), encoding="utf-8")


def figures(folder: Path, duration_s: float) -> None:
    """Draw every dashboard from a run of the demo of so many seconds."""
    # Drawing needs a Prometheus, and modules that writing the JSON can do without.
    from grafana.draw import draw  # noqa: PLC0415
    from grafana.run import watched_demo  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="dashboards-") as temporary, watched_demo(Path(temporary)) as run:
        time.sleep(duration_s)
        until = time.time()
        for name in BOARDS:
            draw(json.loads(text(name)), run, until, folder / f"dashboard-{name}.svg")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m grafana", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the JSON goes")
    parser.add_argument("--figures", type=Path, help="where pictures go; without it none are drawn")
    parser.add_argument("--duration", type=float, default=75.0, help="seconds of the demo that the pictures show")
    options = parser.parse_args()
    write(options.folder)
    if options.figures:
        figures(options.figures, options.duration)


if __name__ == "__main__":
    main()
