"""The garbage collector is paused during imports, and works as before afterwards."""

import gc
import weakref

import pytest

from lightmodels.utils.fast_import import gc_paused


class Cycle:
    """Garbage that only the collector can find."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def enabled():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


def test_the_collector_is_paused_and_resumed_also_after_an_error():
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), gc_paused():
        raise ImportError
    assert gc.isenabled()


def test_a_disabled_collector_stays_disabled():
    gc.disable()
    with gc_paused():
        pass
    assert not gc.isenabled()


def test_objects_become_old_but_are_collected_once_they_are_garbage():
    with gc_paused():
        cycle = Cycle()
    assert any(found is cycle for found in gc.get_objects(generation=2))
    seen = weakref.ref(cycle)
    del cycle
    gc.collect()
    assert seen() is None


def test_frozen_objects_stay_frozen():
    gc.freeze()
    with gc_paused():
        pass
    assert gc.get_freeze_count()
