"""Work over processes keeps its order, passes errors on, and says so when a worker is killed."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import cv2
import pytest

from im2hands.io.errors import DataError, Im2HandsError
from im2hands.io.parallel import chunks, ordered_map, ordered_stream


def square_later(number):
    time.sleep(0.02 * (number % 3))
    return number**2


def refuse_seven(number):
    if number == 7:
        raise DataError("seven")
    return number


def die_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("threads", [0, 1, 3, 50])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_results_come_in_the_order_of_the_tasks(threads, count):
    assert list(ordered_map(square_later, range(count), threads, "squares")) == [n**2 for n in range(count)]


@pytest.mark.parametrize("threads", [1, 2])
def test_errors_of_a_task_reach_the_caller(threads):
    with pytest.raises(DataError, match="seven"):
        list(ordered_map(refuse_seven, range(20), threads, "numbers"))


def test_a_killed_worker_is_an_error_and_not_a_wait_for_ever():
    with pytest.raises(Im2HandsError, match=r"numbers: a worker process was killed.*fewer threads"):
        list(ordered_map(die_at_three, range(20), 2, "numbers"))


def test_chunks_cover_everything_once():
    assert chunks(list(range(7)), 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert chunks([], 3) == []


def test_a_stream_keeps_order_and_takes_no_task_too_early():
    taken = []

    def numbers():
        for number in range(7):
            taken.append(number)
            yield number

    results = ordered_stream(square_later, numbers(), 2, partial(cv2.setNumThreads, 1))
    for count, square in enumerate(results, 1):
        assert square == (count - 1) ** 2
        assert len(taken) <= count + 1
    assert taken == list(range(7))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_raises_in_its_turn(workers):
    results = ordered_stream(refuse_seven, iter(range(20)), workers)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(DataError, match="seven"):
        next(results)


def test_a_stream_says_that_a_worker_died():
    with pytest.raises(Im2HandsError, match="killed"):
        list(ordered_stream(die_at_three, iter(range(20)), 2))
