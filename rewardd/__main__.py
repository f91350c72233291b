"""`python -m rewardd`."""

from rewardd.cli import main

main()
