"""`python -m benchmarks`: every benchmark with its defaults, one after the other."""

from benchmarks import audit, credit, harvest, idle, poll, topup


def main() -> None:
    """Run them all."""
    for benchmark in (credit, harvest, poll, topup, audit, idle):
        benchmark.main()


main()
