"""`python -m rewardd`."""

from rewardd.cli import main

if __name__ == "__main__":  # a spawned process imports this file again
    main()
