from __future__ import annotations

from kube.clock import Clock


def test_small_differences_are_none() -> None:
    """Rounding and transfer time are no reason to leave our own clock."""
    clock = Clock(own=lambda: 1000.0)
    clock.heard(1001.0, sent=999.5, received=1000.0)
    clock.heard(998.0, sent=998.5, received=1000.0)
    assert clock.offset == 0.0


def test_a_skewed_clock_follows() -> None:
    """A node that is a minute late counts from upstream's time, and stays with it while answers agree."""
    clock = Clock(own=lambda: 1000.0)
    clock.heard(1060.0, sent=999.9, received=1000.1)
    first = clock.offset
    assert 59.0 < first < 61.0
    clock.heard(1070.0, sent=1009.7, received=1010.0)
    assert clock.offset == first
    assert clock.now() == 1000.0 + first


def test_it_comes_back_when_the_node_is_set_right() -> None:
    """As soon as the clocks agree again, our own is taken."""
    clock = Clock(own=lambda: 1000.0)
    clock.heard_header("Thu, 01 Jan 1970 01:00:00 GMT", 0.0, 0.1)
    assert clock.offset > 3000
    clock.heard_header("Thu, 01 Jan 1970 01:00:00 GMT", 3600.0, 3600.1)
    assert clock.offset == 0.0


def test_malformed_dates_say_nothing() -> None:
    """A missing or malformed Date header changes nothing."""
    clock = Clock()
    for text in (None, "", "soon"):
        clock.heard_header(text, 0.0, 0.0)
    assert clock.offset == 0.0


def test_a_fixed_clock_stands_still() -> None:
    """A clock that was set does not follow anybody."""
    clock = Clock(fixed=5.0)
    clock.heard(1060.0, sent=0.0, received=0.0)
    assert clock.now() == 5.0
    clock.set(7.0)
    assert clock.now() == 7.0
