"""`python -m handtool` is the same door as the `handtool` command."""

from handtool.cli.app import main

if __name__ == "__main__":
    main()
