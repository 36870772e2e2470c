"""A training that hears of SIGTERM, whatever the processes do that it has forked."""

import multiprocessing
import os
import signal
import time

from handtool.nn.training.interrupt import Sigterm


def test_the_context_ends_while_a_forked_process_lives():
    with Sigterm() as sigterm:
        other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        other.start()
        began = time.monotonic()
    took = time.monotonic() - began
    other.kill()
    other.join()
    assert took < 10
    assert not sigterm.received


def test_a_signal_is_noted_and_the_handler_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with Sigterm() as sigterm:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    assert sigterm.received
    assert signal.getsignal(signal.SIGTERM) == before
