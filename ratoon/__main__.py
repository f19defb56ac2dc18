"""`python -m ratoon`: the command line where no script is on the path."""

from ratoon.cli.app import main

if __name__ == "__main__":
    main()
