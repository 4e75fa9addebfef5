"""`python -m axiomd`: the command line."""

from axiomd.cli import main

main()
