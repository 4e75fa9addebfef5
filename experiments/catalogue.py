"""Writes catalogue.json, all that the server needs to know of the experiments: `python -m experiments.catalogue`.

`--check` writes nothing, and exits with status 1 if the file isn't what the experiments' metadata say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from experiments import NAMES, load

PATH: Final = Path(__file__).with_name("catalogue.json")


def catalogue() -> str:
    """Give the text of the catalogue: every experiment's metadata, sorted by name."""
    experiments = [load(name).METADATA.as_json() for name in sorted(NAMES)]
    return json.dumps({"experiments": experiments}, indent=2, sort_keys=True) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the catalogue, or check it. Gives the exit status."""
    parser = argparse.ArgumentParser(prog="experiments.catalogue", description="Write catalogue.json.")
    parser.add_argument("--check", action="store_true", help="only say whether the file is up to date")
    if not parser.parse_args(arguments).check:
        PATH.write_text(catalogue(), encoding="utf-8")
        return 0
    if PATH.is_file() and PATH.read_text(encoding="utf-8") == catalogue():
        return 0
    print("catalogue.json is out of date; write it by: python -m experiments.catalogue", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
