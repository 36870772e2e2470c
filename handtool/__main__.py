"""`python -m handtool`, and what the command `handtool` starts."""

import os
import signal


def main() -> None:
    # Until all is loaded: Ctrl-C would end in a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    from handtool.cli.app import main as run
    from handtool.cores import settle_openmp

    settle_openmp()
    run()


if __name__ == "__main__":
    main()
