"""`python -m benchmarks`: every benchmark with its defaults, one after the other."""

from benchmarks import audit, credit, idle, poll, topup


def main() -> None:
    """Run them all."""
    for benchmark in (credit, poll, topup, audit, idle):
        benchmark.main()


main()
