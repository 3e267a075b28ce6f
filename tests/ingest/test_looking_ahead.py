"""What a site looks at beside its first questions is what it would answer them with."""

from __future__ import annotations

import pytest

from bench.history import History
from ingest.link_look import MANY
from meterprint.site import open_site

LINES = MANY + 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = History(tmp_path_factory.mktemp("ahead"), LINES, period=60)
    made.grow(LINES * 300)
    made.site.engine.seal()
    made.held = [stream.cut() for stream in made.streams[:3]]  # lost, so that a chain has a hole
    made.grow(LINES * 300)
    made.take(made.held[:1])
    made.settle()
    made.site.close()
    return made.folder


def test_meters_and_chains_looked_at_beforehand_are_found_the_same(folder):
    site = open_site(folder)
    plain = list(site.engine.site_findings())
    site.close()
    assert {finding.rule for finding in plain} >= {"late"}
    site = open_site(folder)
    site.engine.warm()
    assert list(site.engine.site_findings()) == plain
    assert site.engine.engine.all_metered
    chains = dict(site.engine.readings.chains())
    assert all(part.steps is not None for chain in chains.values() for part in chain.sealed)
    site.close()
