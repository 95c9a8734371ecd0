"""`python -m vspsr.cli`."""

from vspsr.cli.main import main

main()
