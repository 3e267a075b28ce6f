"""A lone message waits for company only where some is to be expected, and never for long."""

from __future__ import annotations

import pytest

from ingest.company import COMMITS, SHARE_FSYNC_S, Company


def waits(gap, commit, groups=20):
    """How long lone messages wait that come every `gap` s where a commit takes `commit` s."""
    company, now, found = Company(), 100.0, []
    for place in range(groups):
        comes = 100.0 + place * gap
        found.append(company.wait)
        now = max(now, comes + min(company.wait, gap))
        company.taken(now)
        now += commit
        company.done(now)
    return found[2:]


@pytest.mark.parametrize(("gap", "commit"), [(0.02, 0.002), (1.0, 0.004), (0.1, 0.02)])
def test_who_is_alone_for_longer_than_company_is_worth_does_not_wait(gap, commit):
    assert set(waits(gap, commit)) == {0.0}


@pytest.mark.parametrize(("gap", "commit"), [(0.001, 0.002), (0.003, 0.002), (0.001, 0.02)])
def test_where_messages_come_densely_one_waits_for_another(gap, commit):
    found = waits(gap, commit)
    assert found == pytest.approx([min(SHARE_FSYNC_S, COMMITS * commit)] * len(found))
