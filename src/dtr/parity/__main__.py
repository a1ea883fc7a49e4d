"""`python -m dtr.parity DIR`."""

import sys

from dtr.cli import main

main(["parity", *sys.argv[1:]])
