"""`python -I -S tests/warm_client.py SOCKET WORDS…` has the server of warm.py run the words as this process would: in
its folder and environment, with its first three descriptors and exit status. It starts for every command, so it
imports next to nothing."""

import os
import socket
import sys


def ask(path: str, words: list[str]) -> int:
    """-> the exit status, negative for a signal."""
    request = repr({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)
        socket.send_fds(channel, [len(request).to_bytes(4, "big")], [0, 1, 2])
        channel.sendall(request)
        return int(channel.recv(16))


status = ask(sys.argv[1], sys.argv[2:])
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
