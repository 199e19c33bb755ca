"""`python -m infra.cli` is the command `assay`, whether or not it is installed."""

from infra.cli import main

main()
