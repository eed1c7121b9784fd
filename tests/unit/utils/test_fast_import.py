"""The garbage collector rests during imports, and nothing else of it changes."""

import gc
import weakref

import pytest

from lightmodels.utils.fast_import import gc_paused


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def enabled():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


def test_rests_inside_and_works_after_also_after_an_error():
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), gc_paused():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    with gc_paused():
        pass
    assert not gc.isenabled()


def test_what_was_made_inside_is_old_yet_still_found_when_it_is_garbage():
    with gc_paused():
        ring = Ring()
    assert any(found is ring for found in gc.get_objects(generation=2))
    seen = weakref.ref(ring)
    del ring
    gc.collect()
    assert seen() is None


def test_what_somebody_keeps_from_the_collector_for_good_is_left_there():
    gc.freeze()
    with gc_paused():
        pass
    assert gc.get_freeze_count()
