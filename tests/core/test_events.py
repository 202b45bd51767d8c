"""Events carry the name of their volume."""

from volproc.core.events import Event, of_volume


def test_events_of_one_volume_of_many_carry_its_name_and_all_else() -> None:
    seen: list[Event] = []
    event = Event("block", "predict", facts={"read_bytes": 7}, block=(0, 1, 2))
    of_volume(seen.append, "TS_1")(event)
    assert seen == [
        Event("block", "predict", facts={"read_bytes": 7}, block=(0, 1, 2), volume="TS_1")
    ]
    assert event.volume == ""
