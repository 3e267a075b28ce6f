"""A clock that is set between two flushes parts the envelopes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.source import RawReading
from edge_agent.spells import NOTHING, Known, part
from mrv.column import column_times
from mrv.envelope import Clock, ClockState, parse
from mrv.reporting.completeness import CLOCK_STEP_NS
from mrv.verification.note import SecretKey, split
from tests.faults.test_hostile import TABLE

S = 10**9
GOOD = Clock(ClockState.SYNCHRONISED, 5, "ntp")
WRONG = Clock(ClockState.INFORMATIVE, 1000, "system")
T = 1_700_000_000 * S


class Machine:
    """A machine whose wall clock can be set."""

    def __init__(self):
        self.mono = 50 * S
        self.offset = 0
        self.clock = WRONG

    def now(self):
        return self.mono + self.offset

    def read(self, v):
        self.mono += S
        return RawReading("m.e", self.now(), self.mono, v)


def agent_of(machine, folder):
    outbox = Outbox(folder / "outbox.db")
    agent = Agent(
        TABLE,
        {"m.e": "l", "air.e": "l"},
        SecretKey.generate("a"),
        outbox,
        lambda: machine.clock,
        machine.now,
        lambda: machine.mono,
    )
    return outbox, agent


def envelopes(outbox):
    return [parse(split(m.note)[0]) for m in outbox.everything() if m.stream]


def test_readings_before_and_after_the_clock_was_set_never_share_an_envelope(tmp_path):
    machine = Machine()
    outbox, agent = agent_of(machine, tmp_path)
    for v in range(3):
        agent.add([machine.read(v)])
    machine.offset, machine.clock = T, GOOD
    for v in range(3, 6):
        agent.add([machine.read(v)])
    agent.flush()
    before, after = envelopes(outbox)
    assert [list(e.cols[0].v) for e in (before, after)] == [[0, 1, 2], [3, 4, 5]]
    assert [e.clk for e in (before, after)] == [WRONG, GOOD]
    assert (before.t, before.mono) == (53 * S, 53 * S)
    assert (after.t - after.mono) == T
    assert [e.kind for e in before.ev] == ["start"]
    assert after.ev == ()
    outbox.close()


def test_a_step_after_the_last_reading_leaves_the_pair_of_that_reading(tmp_path):
    machine = Machine()
    outbox, agent = agent_of(machine, tmp_path)
    agent.add([machine.read(0)])
    machine.mono += S // 2
    machine.offset, machine.clock = T, GOOD
    agent.flush()
    (only,) = envelopes(outbox)
    assert (only.t, only.mono, only.clk) == (51 * S, 51 * S, WRONG)
    outbox.close()


def test_a_clock_set_back_by_an_hour_twice_between_two_flushes(tmp_path):
    machine = Machine()
    machine.offset, machine.clock = T, GOOD
    outbox, agent = agent_of(machine, tmp_path)
    for v, step in enumerate((0, -3600 * S, 3600 * S)):
        machine.offset += step
        agent.add([machine.read(v)])
    agent.flush()
    assert [list(e.cols[0].v) for e in envelopes(outbox)] == [[0], [1], [2]]
    outbox.close()


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0, 0, 1, -1, 7, -7]), st.integers(0, 2 * S), st.booleans()),
        max_size=30,
    )
)
def test_every_reading_is_kept_and_a_spell_has_one_setting_of_the_clock(steps):
    spells, sent, mono, offset = [], [], S, T
    for place, (hours, passed, good) in enumerate(steps):
        offset += hours * 3600 * S
        mono += passed
        reading = RawReading("m.e", mono + offset, mono, place)
        sent.append(reading)
        now = Known(GOOD if good else WRONG, offset)
        part(spells, [reading], now, now)
    assert [r for s in spells for r in s.readings] == sent
    for spell in spells:
        offsets = {r.t - r.mono for r in spell.readings}
        assert max(offsets) - min(offsets) <= CLOCK_STEP_NS


def test_times_inside_an_envelope_rise_also_where_the_clock_stepped(tmp_path):
    machine = Machine()
    machine.offset = T
    outbox, agent = agent_of(machine, tmp_path)
    for v in range(100):
        machine.offset += -3600 * S if v == 50 else 0
        agent.add([machine.read(v)])
    agent.flush()
    for envelope in envelopes(outbox):
        times = column_times(envelope.cols[0])
        assert times == sorted(times)
    outbox.close()


def test_the_state_of_a_clock_that_was_just_set_says_nothing_of_what_was_read_before():
    before, after = Known(WRONG, 0), Known(GOOD, T)
    swept = [RawReading("m.e", S, S, 1), RawReading("m.e", T + 2 * S, 2 * S, 2)]
    spells = []
    part(spells, swept, after, before)
    assert [(s.clock, len(s.readings)) for s in spells] == [(WRONG, 1), (GOOD, 1)]
    spells = []
    part(spells, swept, after, None)
    assert spells[0].clock == NOTHING
    by_hand = Known(WRONG, 3600 * S)
    spells = []
    part(spells, swept[:1], by_hand, Known(GOOD, 0))
    assert spells[0].clock == GOOD, "it was right until somebody set it"
