"""Reconciliation against the published cases of the field."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv.errors import MeterprintError
from mrv.reporting.reconciliation import chi2_quantile, reconcile

CASES = (
    "dr_nj2000_bypass",
    "dr_rosenberg1987_7s4n",
    "dr_mitsas2010",
    "dr_mandel1998",
    "dr_vdi2048_uncorrelated",
)


def diagonal(variances):
    size = len(variances)
    return [[v if i == j else 0.0 for j in range(size)] for i, v in enumerate(variances)]


@pytest.fixture(scope="module")
def cases(shared):
    return json.loads((shared / "reference" / "metrology" / "numeric_cases.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_published_networks_come_out(cases, name):
    case = cases[name]
    inputs, expected = case["inputs"], case["expected"]
    variances = inputs.get("variance") or [(h / 1.96) ** 2 for h in inputs["half_width_95"]]
    found = reconcile(inputs["x"], diagonal(variances), inputs["A"])
    assert found.adjusted == pytest.approx(expected["x_hat"], abs=6e-5)
    if "half_width_95" in expected:
        widths = [1.96 * u for u in found.u]
        assert widths == pytest.approx(expected["half_width_95"], abs=6e-5)
    for figures, stated in ((found.u, "u_hat"), (found.z, "z"), (found.z, "local_test_z")):
        if stated in expected:
            assert figures == pytest.approx(expected[stated], abs=6e-5)
    assert found.chi2 == pytest.approx(expected["chi2_stat"], abs=6e-5)
    assert found.freedom == expected["dof"]
    assert found.limit == pytest.approx(expected["chi2_95"], abs=6e-5)


def test_the_bypass_names_its_suspect(cases):
    inputs = cases["dr_nj2000_bypass"]["inputs"]
    found = reconcile(inputs["x"], diagonal(inputs["variance"]), inputs["A"])
    assert found.holds
    assert found.suspects() == (0,)


def test_quantiles_of_chi2():
    """NIST/SEMATECH e-Handbook §1.3.6.7.4."""
    for freedom, value in ((1, 3.841), (2, 5.991), (5, 11.070), (10, 18.307), (100, 124.342)):
        assert chi2_quantile(0.95, freedom) == pytest.approx(value, abs=6e-4)


def test_one_balance_of_two_meters_cannot_tell_which_is_wrong():
    found = reconcile([100.0, 90.0], diagonal([1.0, 1.0]), [[1, -1]])
    assert not found.holds
    assert found.suspects() == (0, 1)
    assert found.adjusted == pytest.approx((95.0, 95.0))


def test_a_balance_that_follows_from_others_adds_nothing():
    once = reconcile([10.0, 4.0, 5.0], diagonal([1.0, 1.0, 1.0]), [[1, -1, -1]])
    twice = reconcile([10.0, 4.0, 5.0], diagonal([1.0, 1.0, 1.0]), [[1, -1, -1], [2, -2, -2]])
    assert twice.freedom == once.freedom == 1
    assert twice.adjusted == pytest.approx(once.adjusted)
    assert twice.chi2 == pytest.approx(once.chi2)


def test_a_meter_in_no_balance_is_left_alone():
    found = reconcile([10.0, 10.5, 7.0], diagonal([1.0, 1.0, 1.0]), [[1, -1, 0]])
    assert found.testable == (True, True, False)
    assert (found.adjusted[2], found.u[2], found.z[2]) == (7.0, 1.0, 0.0)


def test_what_two_meters_share_is_not_seen_by_their_balance():
    """A shared standard moves both alike: the residual does not carry it (GUM 5.2.2)."""
    own, common = 0.01, 4.0
    shared_error = [[own + common, common], [common, own + common]]
    found = reconcile([100.0, 99.0], shared_error, [[1, -1]])
    assert found.u_residuals[0] == pytest.approx(math.sqrt(2 * own))


def test_shapes_that_do_not_fit_and_numbers_that_are_none_are_refused():
    with pytest.raises(MeterprintError, match="covariance"):
        reconcile([1.0, 2.0], [[1.0]], [[1, -1]])
    with pytest.raises(MeterprintError, match="finite"):
        reconcile([1.0, math.nan], diagonal([1.0, 1.0]), [[1, -1]])


values = st.lists(st.floats(1, 1e4), min_size=3, max_size=8)


@given(values, st.randoms(use_true_random=False))
def test_reconciled_balances_hold_and_no_uncertainty_grows(measured, draw):
    size = len(measured)
    variances = [draw.uniform(0.1, 10) for _ in measured]
    row = [1.0, *(-1.0 for _ in range(size - 1))]
    found = reconcile(measured, diagonal(variances), [row])
    assert math.fsum(a * x for a, x in zip(row, found.adjusted, strict=True)) == pytest.approx(
        0, abs=1e-6 * sum(measured)
    )
    assert all(u <= math.sqrt(v) * (1 + 1e-9) for u, v in zip(found.u, variances, strict=True))
