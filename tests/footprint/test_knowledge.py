"""Knowledge that grows by some facts is that of all facts, and what it grew from stays as it was."""

from __future__ import annotations

import os
import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from footprint.catalogue import FactorError, FactorRequest
from footprint.knowledge import Knowledge
from footprint.restatement import changed_lines, vanished
from mrv.fact import REGISTRY, Fact, FactHeader, production_chain

EXAMPLES = int(os.environ.get("METERPRINT_KNOWLEDGE", "150"))
MS = 10**6
TIMES = tuple(n * 1000 * MS for n in range(12))
NAMES = ("b0", "b1", "b2", "b3", "b4")
PAPERS = ("c0", "c1", "c2")
METERS = ("m0", "m1")
FACTOR = {
    "id": "grid", "name": "grid", "category": "electricity_cfp", "region": "", "valid_from": "",
    "valid_to": "", "value": "0.5", "unit": "kgCO2e/kWh", "gas_or_co2e": "CO2e", "gwp_basis": "",
    "uncertainty_pct": "5", "source": "", "source_year": "", "notes": "",
}  # fmt: skip
PLANT = {
    "site": "s",
    "lines": [{"id": "l0"}, {"id": "l1"}],
    "products": [{"id": "p", "unit": "piece"}, {"id": "q", "unit": "piece"}],
    "instruments": [
        {"id": m, "registers": [{"id": "e", "kind": "counter", "unit": "kWh", "resolution": "1"}]}
        for m in METERS
    ],
    "sources": [],
}


def registry_fact(choice):
    kind = choice.choice(
        ("plant_model", "factor_set", "chain_closed", "instrument_exchanged", "key_enrolled")
        + ("certificate_recorded", "certificate_approved", "certificate_revoked") * 2
    )
    if choice.random() < 0.15:
        body = choice.choice(({}, {"rows": 5}, {"instrument": 7}, {"closing": "x", "agent": 1}))
        return kind, choice.choice((*PAPERS, *METERS)), body
    if kind == "plant_model":
        return kind, "plant", {**PLANT, "policy": {"gap_s": str(choice.randint(60, 900))}}
    if kind == "factor_set":
        row = {**FACTOR, "id": choice.choice(("grid", "gas")), "value": f"0.{choice.randint(1, 9)}"}
        return kind, "set", {"rows": [row, "no row"] if choice.random() < 0.2 else [row]}
    if kind == "chain_closed":
        return kind, "chain", {"agent": "a", "stream": choice.choice(("s", "t"))}
    if kind == "instrument_exchanged":
        closing = {"closing": {"e": choice.randint(0, 9)}, "opening": {"e": 0}}
        return kind, choice.choice(METERS), {**closing, "serial": choice.choice(("", "x"))}
    if kind == "certificate_recorded":
        percent = f"0.{choice.randint(1, 9)}"
        point = {"load": "10", "error_percent": percent, "expanded_percent": "0.1"}
        body = {"instrument": choice.choice(METERS), "kind": "calibration", "points": [point]}
        return kind, choice.choice(PAPERS), body
    return kind, choice.choice(PAPERS), {"by": "x"}


def production_fact(choice):
    kind = choice.choice(("batch_started", "batch_ended", "amount_declared", "other"))
    body = {
        "batch_started": {"product": choice.choice(("p", "q"))},
        "batch_ended": {"good": choice.choice(("3", "0", "-1"))},
        "amount_declared": {
            "source": choice.choice(("x", "y")),
            "quantity": choice.choice(("1", "2", "no")),
            "unit": "kg",
        },
        "other": {},
    }[kind]
    return kind, choice.choice(NAMES), body


def facts_of(seed):
    choice = random.Random(seed)
    counts: dict[str, int] = {}
    facts = []
    for index in range(choice.randint(1, 40)):
        chain = choice.choice((REGISTRY, production_chain("l0"), production_chain("l1")))
        kind, subject, body = (registry_fact if chain == REGISTRY else production_fact)(choice)
        seq = counts.get(chain, 0)
        counts[chain] = seq + 1
        supersedes = choice.randrange(seq) if seq and choice.random() < 0.05 else None
        times = choice.choice(TIMES), choice.choice((None, TIMES[-1]))
        header = FactHeader("s", chain, kind, seq, "", *times, supersedes, "x", "", "")
        facts.append(Fact(header, f"{index:064x}", subject, body, index))
    return choice, facts


def chosen(knowledge, plant):
    found = []
    for name in ("grid", "gas"):
        try:
            found.append(knowledge.catalogue(plant).choose(FactorRequest(id=name), TIMES[3]))
        except FactorError as error:
            found.append(str(error))
    return found


def seen(knowledge):
    """Everything that can be asked of it."""
    lines = {}
    for name, line in knowledge.timelines.items():
        lines[name] = (
            list(line.batches.items()), line.declared, line.findings, list(line.ordered()),
            line._starts, line._reach, line._ends,
            [line.overlapping(a, b) for a in TIMES for b in TIMES],
            [(line.before(at), line.after(at), line.output_after(at)) for at in TIMES],
            [line.tiles(a, b, 1500 * MS) for a in TIMES for b in TIMES if a < b],
        )  # fmt: skip
    plants = [plant for _, plant in knowledge.plants]
    return {
        "facts": knowledge.facts,
        "registry": list(knowledge.registry),
        "lines": list(lines.items()),
        "plants": list(knowledge.plants),
        "at": [knowledge.plant_at(at) for at in TIMES],
        "papers": knowledge.all_certificates(),
        "by meter": [list(knowledge.certificates(m)) for m in METERS],
        "valid": [knowledge.certificate_at(m, at) for m in METERS for at in TIMES],
        "exchanges": [list(knowledge.exchanges(m)) for m in METERS],
        "closed": [knowledge.is_closed("a", s, at, at) for s in "st" for at in TIMES],
        "factors": list(knowledge.factors),
        "findings": knowledge.all_findings(),
        "chosen": [chosen(knowledge, plant) for plant in plants],
        "origins": [knowledge.origin(line) for line in ("l0", "l1")],
    }


@settings(max_examples=EXAMPLES, deadline=None)
@example(3)
@given(st.integers(0, 2**48))
def test_knowledge_that_grows_is_that_of_all_facts(seed):
    choice, facts = facts_of(seed)
    if choice.random() < 0.1:
        choice.shuffle(facts)
    place = choice.randint(0, len(facts))
    held = Knowledge(facts[:place])
    while place < len(facts):
        more = facts[place : place + choice.randint(1, 4)]
        place += len(more)
        asked = choice.random() < 0.5  # what was remembered of the answers must not matter
        before = seen(held) if asked else None
        grown = held.grown(more)
        anew = Knowledge(facts[:place])
        assert seen(grown) == seen(anew)
        assert touched(held, grown) == touched(held, anew)
        assert sorted(vanished(held, grown)) == sorted(vanished(held, anew))
        if asked:
            assert seen(held) == before
        held = grown


def touched(before, after):
    """Time of lines that is no longer what it was, in some order."""
    return sorted((sorted(t.lines), t.start, t.end) for t in changed_lines(before, after))


def test_an_approval_is_of_what_was_recorded_before_it():
    def fact(seq, kind, body):
        header = FactHeader("s", REGISTRY, kind, seq, "", 0, None, None, "x", "", "")
        return Fact(header, "", "c", body)

    point = {"load": "10", "error_percent": "1", "expanded_percent": "0.1"}
    body = {"instrument": "m0", "kind": "calibration", "points": [point]}
    knowledge = Knowledge([fact(0, "certificate_approved", {})])
    knowledge = knowledge.grown([fact(1, "certificate_recorded", body)])
    assert [c.approved for c in knowledge.all_certificates()] == [False]
    knowledge = knowledge.grown([fact(2, "certificate_approved", {})])
    assert [c.approved for c in knowledge.all_certificates()] == [True]
    knowledge = knowledge.grown([fact(3, "certificate_recorded", {"instrument": 5})])
    assert [c.approved for c in knowledge.all_certificates()] == [False]
    assert [f.rule for f in knowledge.findings] == ["unreadable_fact"]
