"""Other people's code runs in order on a thread of its own, and nothing it does reaches further."""

from __future__ import annotations

import sys
import threading

from exsa_lab.engine.worker.notifier import Notifier


def test_callbacks_run_in_order_on_another_thread() -> None:
    notifier, threads, order = Notifier(), set(), []
    for number in range(20):
        notifier.put(lambda number=number: (order.append(number), threads.add(threading.current_thread())))  # type: ignore[misc]
    notifier.close()
    assert order == list(range(20))
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_what_a_callback_raises_ends_with_it() -> None:
    notifier, called = Notifier(), []
    notifier.put(lambda: 1 / 0)
    notifier.put(lambda: sys.exit(3))
    notifier.put(lambda: called.append(1))
    notifier.close()
    assert called == [1]


def test_what_comes_after_the_end_is_called_at_once_by_who_brings_it() -> None:
    notifier, threads = Notifier(), []
    notifier.close()
    notifier.put(lambda: threads.append(threading.current_thread()))
    notifier.put(lambda: 1 / 0)
    assert threads == [threading.current_thread()]
    notifier.close()


def test_a_callback_may_put_another_and_may_close() -> None:
    notifier, called, done = Notifier(), [], threading.Event()
    notifier.put(lambda: notifier.put(lambda: (called.append(2), notifier.close(), done.set())))
    assert done.wait(30)
    assert called == [2]
