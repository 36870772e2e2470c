"""`python -m handtool` does the same as the command `handtool`."""

from handtool.cli.app import main

if __name__ == "__main__":
    main()
