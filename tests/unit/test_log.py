"""The log: order, levels, functions, the ring's limit, subscribers."""

from __future__ import annotations

from fauxdna.log import Entry, Level, Log


def test_entries_by_level_and_function() -> None:
    log = Log(clock=iter([100.0, 100.5, 101.0, 102.25]).__next__)
    log.logger("0000:05:00.0", "psp").error("refused")
    log.logger("0000:05:00.1", "firmware").info("context 1")
    log.logger("0000:05:00.0", "smu").debug("detail")
    assert [entry.text for entry in log.entries()] == ["refused", "context 1", "detail"]
    assert [entry.text for entry in log.entries(Level.INFO)] == ["refused", "context 1"]
    assert [entry.text for entry in log.entries(function="0000:05:00.0")] == ["refused", "detail"]
    assert str(log.entries()[0]) == "[    0.500000] 0000:05:00.0 psp: refused"


def test_only_the_last_entries_of_each_function_are_kept() -> None:
    """A function that talks much pushes out its own entries and no other's; order stays that of writing."""
    log = Log(capacity=3)
    log.write(Level.INFO, "quiet", "s", "first")
    for number in range(5):
        log.write(Level.INFO, "loud", "s", str(number))
    log.write(Level.INFO, "quiet", "s", "last")
    assert [entry.text for entry in log.entries()] == ["first", "2", "3", "4", "last"]
    assert [entry.text for entry in log.entries(function="quiet")] == ["first", "last"]
    assert log.entries(function="nobody") == []


def test_subscribers() -> None:
    log = Log()
    heard: list[Entry] = []
    end = log.subscribe(heard.append, Level.WARNING)
    log.logger("f", "s").info("not this")
    log.logger("f", "s").warning("this")
    end()
    log.logger("f", "s").warning("not this either")
    end()
    assert [entry.text for entry in heard] == ["this"]


def test_a_subscriber_that_raises_is_dropped() -> None:
    log = Log()
    calls: list[str] = []

    def broken(entry: Entry) -> None:
        calls.append(entry.text)
        raise BrokenPipeError

    log.subscribe(broken)
    log.logger("f", "s").error("one")
    log.logger("f", "s").error("two")
    assert calls == ["one"]
    assert len(log.entries()) == 2
