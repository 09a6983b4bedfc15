"""Which rank is to blame, on a clock that the test moves."""

import pytest

from mindcv_hrnet.runtime.watch import GRACE_S, PATIENT_S, STUCK_S, Place, Watch

LIMIT = 120.0


@pytest.fixture
def watch():
    """Of three ranks, all of which have just been heard in step 8."""
    made = Watch(LIMIT, 0.0)
    for rank in range(3):
        made.add(rank, f"host{rank}", 100 + rank, 0.0)
        made.hear(rank, Place(7, inside=True), 0.0)
    return made


def pass_time(watch, begin, end, places):
    """Look once a second; ranks in `places` (rank -> Place) tell theirs. The first thing that is found, and when."""
    for now in range(begin + 1, end + 1):
        for rank, place in places.items():
            watch.hear(rank, place, float(now))
        if found := watch.look(float(now)):
            return found, now
    return "", end


def test_a_silent_rank_is_named_after_the_limit(watch):
    step = Place(7, inside=True)
    found, now = pass_time(watch, 0, 300, {0: step, 2: step})
    assert now == LIMIT + 1
    assert found == (
        "rank 1 (process 101 on host1) has given no sign of life for 120 s, last in step 8: stopped, stuck, or cut off "
        "from the network"
    )


def test_ranks_that_speak_are_left_alone_however_long_they_take(watch):
    assert pass_time(watch, 0, 5000, {rank: Place(7, inside=True) for rank in range(3)}) == ("", 5000)
    assert watch.stuck(5000.0) == ("", False)  # a compilation looks like this


def test_a_rank_that_compiles_on_an_accelerator_may_be_silent_for_long(watch):
    patient = Place(7, inside=True, patient=True)
    watch.hear(1, patient, 0.0)
    step = Place(7, inside=True)
    found, now = pass_time(watch, 0, 4000, {0: step, 2: step})
    assert now == PATIENT_S + 1 and found.startswith("rank 1 (process 101 on host1) has given no sign of life for 3600")


def test_a_process_that_was_stopped_itself_blames_nobody(watch):
    places = {rank: Place(7, inside=True) for rank in range(3)}
    pass_time(watch, 0, 100, places)
    assert watch.look(1000.0) == ""  # it has slept for 900 s, and so has its view of the others
    assert pass_time(watch, 1000, 1010, places)[0] == ""
    assert pass_time(watch, 1010, 1200, {0: places[0], 2: places[2]})[1] == 1010 + LIMIT + 1


def test_a_rank_that_ends_without_a_word_is_left_to_the_launcher_first(watch):
    step = Place(7, inside=True)
    watch.lose(1, "closed", 0.0)
    found, now = pass_time(watch, 0, 300, {0: step, 2: step})
    assert now == GRACE_S + 1
    assert found == "rank 1 (process 101 on host1) has ended without a word (closed), last in step 8"


def test_a_rank_that_has_said_that_it_leaves_is_forgotten(watch):
    watch.forget(1)
    watch.lose(1, "closed", 0.0)
    step = Place(7, inside=True)
    assert pass_time(watch, 0, 300, {0: step, 2: step}) == ("", 300)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (Place(7), "between the steps 7 and 8"),
        (Place(6, inside=True), "in step 7"),
        (Place(0), "in front of the first step"),
        (Place(7, batch=3), "in the validation, after its batch 3"),
    ],
)
def test_a_rank_that_lives_and_holds_up_the_others_is_named(watch, place, told):
    ahead = Place(7, batch=4) if place.batch else Place(7, inside=True)
    places = {0: ahead, 1: place, 2: ahead}
    for rank, where in places.items():
        watch.hear(rank, where, 0.0)
    assert pass_time(watch, 0, 119, places) == ("", 119) and watch.news(119.0) == ""
    pass_time(watch, 119, 120, places)
    assert watch.news(120.0) == f"rank 1 (process 101 on host1) holds up the others for 120 s, {told}"
    assert watch.news(121.0) == ""  # once
    pass_time(watch, 120, int(STUCK_S), places)
    assert watch.stuck(STUCK_S - 1)[1] is False and watch.stuck(STUCK_S)[1] is True


def test_of_many_ranks_a_few_are_named():
    watch = Watch(10.0, 0.0)
    for rank in range(8):
        watch.add(rank, "h", rank, 0.0)
    found, _ = pass_time(watch, 0, 20, {0: Place()})
    assert found.startswith("rank 1 (process 1 on h), rank 2 (process 2 on h), rank 3 (process 3 on h), rank 4 ")
    assert "and 3 more has given" in found
