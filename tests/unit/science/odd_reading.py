"""The process that reads files, but a file named `deadly` kills it and one named `slow` holds it up."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from axiomd.boinc import files
from axiomd.science import reading


def read_file(path: str | Path, max_bytes: int) -> bytes:
    if Path(path).name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if Path(path).name == "slow":
        time.sleep(60)
    return files.read_file(path, max_bytes)


vars(reading).update(read_file=read_file)

if __name__ == "__main__":
    sys.exit(reading.main())
