"""A training that hears of SIGTERM, whatever the processes do that it has forked."""

import contextlib
import multiprocessing
import os
import signal
import time

import pytest

from handtool.errors import Terminated
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


@pytest.mark.parametrize("is_whole", [True, False])
def test_when_the_signal_ended_another_rank_this_one_saves_what_is_whole_and_is_terminated(is_whole):
    saved = []
    with pytest.raises(Terminated), Sigterm() as sigterm:
        sigterm.save = lambda: saved.append("saved") or "saved"
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        with contextlib.nullcontext() if is_whole else sigterm.uninterrupted():
            raise RuntimeError("connection closed by peer")
    assert saved == ["saved"] * is_whole


def test_without_a_signal_an_error_stays_what_it_is_and_saves_nothing():
    with pytest.raises(RuntimeError, match="a bug"), Sigterm() as sigterm:
        sigterm.save = lambda: pytest.fail("saved")
        raise RuntimeError("a bug")
