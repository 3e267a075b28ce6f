"""Lists that are kept as things change say what sorting everything again would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from footprint.chain_tips import ChainTips
from ingest.batch_order import BatchOrder
from ingest.site_findings import odd_chain
from ingest.sorted_findings import SortedFindings, finding_key
from mrv.finding import Finding, Severity
from mrv.reporting.completeness import ChainLink, StreamChain

NAMES = st.sampled_from([f"b{n}" for n in range(12)])
MOVES = st.lists(st.tuples(NAMES, st.none() | st.integers(0, 5)), max_size=200)


@given(moves=MOVES, look=st.integers(1, 90))
def test_batches_are_in_order_whenever_somebody_looks(moves, look):
    order, held = BatchOrder(), {}
    for place, (name, start) in enumerate(moves):
        if start is None:
            held.pop(name, None)
            order.drop(name)
        else:
            held[name] = start
            order.put(name, start)
        if place % look == 0:
            order.names(0, 3)
    wanted = sorted(held, key=lambda name: (-held[name], name))
    assert order.names(0, None) == wanted
    assert order.names(2, 5) == wanted[2:5]
    assert len(order) == len(held)


FINDINGS = st.builds(
    Finding,
    st.sampled_from(("late", "fork")),
    st.sampled_from(("a", "b", "c")),
    st.integers(0, 3),
    st.sampled_from(Severity),
)
PUTS = st.lists(st.tuples(st.integers(0, 4), st.lists(FINDINGS, max_size=80)), max_size=12)


@given(puts=PUTS, look=st.integers(1, 4))
def test_findings_are_in_order_without_twins(puts, look):
    kept, parts = SortedFindings(), {}
    for place, (origin, found) in enumerate(puts):
        parts[origin] = found
        kept.put(origin, found)
        if place % look == 0:
            kept.settle()
    kept.settle()
    rows = kept.rows()
    assert set(rows) == {finding for found in parts.values() for finding in found}
    assert len(rows) == len(set(rows)) == len(kept)
    assert [finding_key(row) for row in rows] == sorted(finding_key(row) for row in rows)
    groups = kept.alike(0, 10_000)
    assert [row for group in groups for row in group.first] == list(rows)
    assert all(group.count == len(group.first) for group in groups)
    assert {group.rule for group in kept.alike(0, 1, "late")} <= {"late"}
    assert all(len(group.first) <= 1 for group in kept.alike(1, 1))


def test_of_twins_that_weigh_differently_one_goes_when_both_are_gone():
    kept = SortedFindings()
    kept.put("a", [Finding("late", "s", 0, Severity.INFO)])
    kept.put("b", [Finding("late", "s", 0, Severity.ERROR)])
    kept.settle()
    kept.put("a", [])
    kept.settle()
    assert len(kept) == 1
    kept.put("b", [])
    kept.settle()
    assert kept.rows() == ()


@st.composite
def links(draw):
    """Envelopes of one stream: mostly a run, here and there a restart, a fork, a step, a twin."""
    made = []
    for number in range(draw(st.integers(1, 25))):
        before = draw(st.sampled_from(made)) if made and draw(st.booleans()) else None
        before = made[-1] if made and draw(st.integers(0, 4)) else before
        t = (before.t if before else 0) + draw(st.sampled_from((1, 1, 1, -2, 5))) * 10**9
        same = before is not None and draw(st.integers(0, 5)) > 0
        made.append(
            ChainLink(
                "a",
                "s",
                before.epoch if same else f"e{number}",
                before.seq + 1 if same else 0,
                f"i{number}",
                before.identity if before else "",
                t,
                t,
                trusted=True,
                t=t,
                mono=number * 10**9,
                boot="b",
            )
        )
    if draw(st.booleans()):
        return made
    return draw(st.permutations(made))


@given(links=links(), look=st.integers(1, 9))
def test_no_chain_becomes_odd_unnoticed(links, look):
    chain, tips = StreamChain(), ChainTips()
    seen = []
    for place, link in enumerate(links):
        chain.add(link)
        tips.saw(("a", "s"), link, chain, odd=False)
        if place % look == 0 and tips.take():
            seen = list(odd_chain(("a", "s"), chain, ()))
            tips.looked(("a", "s"), chain)
    if tips.take():
        seen = list(odd_chain(("a", "s"), chain, ()))
    assert seen == list(odd_chain(("a", "s"), chain, ()))


def test_an_orderly_chain_is_not_looked_at_again():
    chain, tips = StreamChain(), ChainTips()
    prev = ""
    for seq in range(50):
        t = seq * 10**9
        link = ChainLink("a", "s", "e", seq, f"i{seq}", prev, t, t, trusted=True, t=t, mono=t)
        chain.add(link)
        tips.saw(("a", "s"), link, chain, odd=False)
        prev = link.identity
    assert tips.take() == []
