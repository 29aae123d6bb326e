"""How much a run that is stopped may lose."""

from bitlens.engine.wave_size import SECONDS, Pace


def test_five_minutes_or_a_tenth_whichever_is_more() -> None:
    """A thousand tokens: at a second each three hundred of them; at a hundredth, all; at fifty
    seconds a tenth."""
    assert Pace(1000, 1.0).most == SECONDS == 300
    assert Pace(1000, 0.01).most == 30_000
    assert Pace(1000, 50.0).most == 100


def test_what_is_not_known_is_taken_for_slow_until_it_was_timed() -> None:
    """A tenth; then as many as the last wave shows to pass in five minutes."""
    pace = Pace(1000, None)
    assert pace.most == 100
    pace.took(100, 20.0)
    assert pace.most == 1500
