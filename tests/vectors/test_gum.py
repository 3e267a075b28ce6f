"""Published worked examples of the GUM through our components."""

from __future__ import annotations

import json
import math

import pytest
from GTC import ureal
from hypothesis import given
from hypothesis import strategies as st

from mrv.measurement.uncertainty import Components, product, ratio, rectangular, total


def cases(shared):
    return json.loads((shared / "reference" / "metrology" / "numeric_cases.json").read_text())


def test_ten_resistors_of_one_standard_add_up_linearly(shared):
    case = cases(shared)["jcgm100_5.2.2_shared_standard"]["expected"]
    resistor = Components({"ref:standard": 0.1})
    assert total([resistor] * 10).u == pytest.approx(case["u_sum_correct_ohm"], abs=1e-12)
    alone = [Components({f"own:{i}": 0.1}) for i in range(10)]
    wrong = case["u_sum_if_wrongly_uncorrelated_ohm"]
    assert total(alone).u == pytest.approx(wrong, abs=5e-4)


def test_the_end_gauge_of_gum_h1(shared):
    case = cases(shared)["jcgm100_H1_end_gauge"]
    inputs, expected = case["inputs"], case["expected"]
    standard, u_standard, _ = inputs["ls"]
    length = Components({"ls": u_standard})
    shift = 0.0
    for place, (value, u, _) in enumerate(inputs["d_terms"]):
        shift += value
        length += Components({f"d{place}": u})
    # theta = −0.1, alpha_s = 11.5e-6; both differences have expectation 0, so only the terms
    # theta·u(d_alpha) and alpha_s·u(d_theta) remain to first order (GUM H.1.3).
    d_alpha, d_theta = rectangular(1e-6), rectangular(0.05)
    length += Components({"d_alpha": -standard * -0.1 * d_alpha})
    length += Components({"d_theta": -standard * 11.5e-6 * d_theta})
    assert standard + shift == expected["l"]
    assert length.u == pytest.approx(expected["u_unrounded"], abs=5e-5)
    assert round(length.u) == expected["u"]


uncertain = st.tuples(
    st.floats(0.5, 1e3), st.floats(1e-3, 10.0), st.floats(1e-3, 10.0), st.booleans()
)


@given(uncertain, uncertain)
def test_products_and_ratios_agree_with_gtc(first, second):
    (x, own_x, shared_x, _), (y, own_y, shared_y, opposite) = first, second
    sign = -1.0 if opposite else 1.0
    ux = Components({"x": own_x, "s": shared_x})
    uy = Components({"y": own_y, "s": sign * shared_y})
    s = ureal(0, 1)
    gx = ureal(x, own_x) + shared_x * s
    gy = ureal(y, own_y) + sign * shared_y * s
    assert product(x, ux, y, uy).u == pytest.approx((gx * gy).u, rel=1e-9, abs=1e-12)
    assert ratio(x, ux, y, uy).u == pytest.approx((gx / gy).u, rel=1e-9, abs=1e-12)
    assert (ux + uy).u == pytest.approx((gx + gy).u, rel=1e-9, abs=1e-12)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-1e6, 1e6), min_size=1))
def test_the_budget_adds_up_to_the_square(parts):
    components = Components(parts)
    shares = math.fsum(share for _, _, share in components.budget())
    assert components.u == 0 or shares == pytest.approx(1.0)
