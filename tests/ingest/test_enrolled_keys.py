"""Who may sign: nothing that a revoked key signed enters the journal after the revocation."""

from __future__ import annotations

import pytest

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.enrolled_keys import EnrolledKeys
from ingest.entry import Draft, EntryKind
from ingest.facts import FactWriter
from ingest.journal import Journal, JournalError, RegistryMoved
from ingest.receiver import Message, Receiver
from meterprint.site import open_site
from mrv.envelope import Clock, ClockState, parse
from mrv.fact import REGISTRY
from mrv.verification.note import SecretKey, identity, split

CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")


@pytest.fixture
def site(tmp_path):
    site = open_site(tmp_path / "state", "s")
    yield site
    site.close()


def beside(site):
    """What a command in another process has open: the same journal and keys."""
    journal = Journal(site.state / "journal.db", site.name, site.keyring.checkpoints)
    return journal, FactWriter(journal, site.keyring)


def note(key, seq=0):
    chain = StreamChain("s", f"l{seq}", key, "", None)
    return chain.cut([RawReading("m.e", 10**18 + seq, 0, seq)], CLOCK)[0].note


def receiver_of(site):
    return Receiver(
        site.journal,
        site.quarantine,
        site.keyring.receipts,
        site.keys_of,
        site.revoked_keys_of,
        site.enrolled,
    )


def message(key, seq=0):
    return Message(key.name, "readings", f"meterprint/1/s/{key.name}/readings/l", note(key, seq))


def test_a_key_revoked_between_verification_and_commit_enters_nothing(site):
    gone, stays = SecretKey.generate("gw"), SecretKey.generate("hall")
    for key in (gone, stays):
        site.enrol_agent(key.public)
    receiver = receiver_of(site)
    messages = [message(gone), message(stays)]
    looked = receiver.look(messages)  # signatures are verified, the group is not committed yet
    journal, writer = beside(site)
    revocation = writer.revoke(gone.public, "test").index
    journal.close()
    committed = receiver.take(messages, looked)
    assert [(c.message.agent, c.index) for c in committed] == [("hall", revocation + 1)]
    assert receiver.tally.quarantined == {"revoked_key": 1}
    assert site.quarantine.counts() == {"revoked_key": 1}
    assert receiver.tally.received == 2


def test_a_fact_that_changes_no_key_only_has_the_group_judged_again(site):
    key = SecretKey.generate("gw")
    site.enrol_agent(key.public)
    receiver = receiver_of(site)
    looked = receiver.look([message(key)])
    journal, writer = beside(site)
    writer.record(REGISTRY, "opinion_issued", "o", {}, author="test")
    journal.close()
    assert [c.new for c in receiver.take(looked.messages, looked)] == [True]


def test_a_registry_whose_facts_cannot_be_found_is_refused_and_not_asked_for_ever(site):
    key = SecretKey.generate("gw")
    site.enrol_agent(key.public)
    receiver = receiver_of(site)
    site.journal._db.execute("UPDATE chain SET count=count+1 WHERE name='registry'")
    with pytest.raises(JournalError, match="registry"):
        receiver.take([message(key)])


def test_a_journal_takes_nothing_judged_by_an_older_registry(site):
    key = SecretKey.generate("gw")
    envelope = note(key)
    text = split(envelope)[0]
    draft = Draft(EntryKind.ENVELOPE, envelope, identity(text), envelope=parse(text))
    size, known = site.journal.size, site.enrolled.count
    with pytest.raises(RegistryMoved):
        site.journal.append([draft], registry=known - 1)
    assert site.journal.size == size
    assert site.journal.append([draft], registry=known) == [(size, True)]
    assert site.journal.verify() == []


def test_a_revocation_beside_is_not_passed_over_for_one_of_our_own(site):
    """Facts are learnt in their order, whoever states them: a later one hides none before it."""
    first, second = SecretKey.generate("gw"), SecretKey.generate("hall")
    for key in (first, second):
        site.enrol_agent(key.public)
    journal, writer = beside(site)
    writer.revoke(first.public, "test")
    journal.close()
    site.revoke_agent("hall")
    assert site.agents() == ()
    site.refresh()
    assert site.agents() == ()
    assert site.keys_of("gw") == ()
    assert site.revoked_keys_of("gw") == (first.public,)


def test_facts_that_come_twice_or_too_early_change_nothing(site):
    key = SecretKey.generate("gw")
    site.enrol_agent(key.public)
    site.revoke_agent("gw")
    site.refresh()
    facts = [fact for fact in site.engine.facts if fact.header.chain == REGISTRY]
    keys = EnrolledKeys()
    keys.take(facts[-1:])
    assert keys.count == 0
    keys.take(facts)
    keys.take(facts[:-1])
    assert keys.count == len(facts)
    assert (keys.of_agent("gw"), keys.revoked("gw")) == ((), (key.public,))
