"""Questions answered together are answered as alone, and readings are read once for all of them."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from footprint import sweep
from tests.footprint.test_laws import SPAN, world_of

MS = 10**6
moments = st.integers(-1000, (SPAN + 100) * 1000)
questions = st.lists(
    st.lists(moments, min_size=2, max_size=5, unique=True).map(lambda cuts: tuple(sorted(cuts))),
    min_size=1,
    max_size=12,
)
sizes = st.tuples(st.sampled_from((1, 20_000 * MS, 10**15)), st.sampled_from((1, 30, 10**6)))


def meters_of(world):
    engine = world.engine()
    plant = engine.knowledge.plants[-1][1]
    return [engine.metered(plant, source).meter for source in plant.sources]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9), questions, st.lists(moments, max_size=8), sizes)
def test_a_question_is_answered_alone_as_among_others(seed, asked, beside, portion):
    asked = [tuple(cut * MS for cut in cuts) for cuts in asked]
    beside = [moment * MS for moment in beside]
    world = world_of(seed)
    first, most = portion
    for alone, together in zip(meters_of(world), meters_of(world), strict=True):
        with (
            patch.object(sweep, "FIRST_NS", first),
            patch.object(sweep, "MOST_READINGS", most),
        ):
            together.sweep(asked, beside)
        for cuts in asked:
            assert together.windows(cuts) == alone.windows(cuts), cuts
        if together.key is not None and together.register.kind != "gauge":
            assert None not in map(together._near.of, beside), "what was foreseen is remembered"
        for moment in beside:
            assert together.near(moment) == alone.near(moment), moment


@settings(max_examples=40, deadline=None)
@example(80)
@given(st.integers(0, 10**9))
def test_batches_foreseen_have_the_digests_of_batches_computed_one_by_one(seed):
    world = world_of(seed)
    alone, together = world.engine(), world.engine()
    names = [batch.id for batch in alone.batches()]
    together.foresee(together.batches())
    for name in names:
        assert together.batch(name).digest() == alone.batch(name).digest()


def test_what_lies_side_by_side_is_read_once():
    world = world_of(1)
    meter = meters_of(world)[0]
    asked = []
    inner = meter._readings

    class Counting:
        """Readings that note what is read."""

        def read(self, key, start, end, margin):
            asked.append((start, end))
            return inner.read(key, start, end, margin)

        def longest(self, key):
            return inner.longest(key)

    meter._readings = Counting()
    side_by_side = [(n * 10_000 * MS, (n + 1) * 10_000 * MS) for n in range(50)]
    across = [(n * 30_000 * MS, (n + 1) * 30_000 * MS) for n in range(15)]
    beside = [n * 10_000 * MS for n in range(51)]
    meter.sweep([*side_by_side, *across, (0, 70_000 * MS, 95_000 * MS)], beside)
    assert asked == [(0, 500_000 * MS)]
    assert all(meter.near(moment) for moment in beside)
    assert all(meter.knows(window) for window in across)
    meter.sweep(across, beside)
    assert len(asked) == 1
    meter.trim(16)
    assert meter.remembered <= 32, "nothing that was foreseen stays for ever"
