"""The garbage collector is paused during imports, and works as before afterwards."""

import gc
import weakref

import pytest

from lightmodels.utils.fast_import import gc_paused


class Cycle:
    """Garbage that only the collector can find, once it refers to itself."""


@pytest.fixture(autouse=True)
def as_usual():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_paused_and_then_as_before_also_after_an_error(enabled):
    if not enabled:
        gc.disable()
    with pytest.raises(ImportError), gc_paused():  # noqa: PT012
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() == enabled


def test_objects_become_old_but_are_collected_once_they_are_garbage():
    with gc_paused():
        cycle = Cycle()
        cycle.itself = cycle
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
