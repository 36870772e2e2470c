"""`python -m handtool`, and what the command `handtool` starts."""

import os
import signal


def main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # which, until all is loaded, ends in a traceback
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from handtool.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
