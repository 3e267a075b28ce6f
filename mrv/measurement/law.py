"""The law of numbers: from register integers to amounts in windows of time (design §3).

Plain functions over integer sequences, in the subset that numba compiles; `verify` runs them as
they are. All results are exact. An amount is `increment × (10⁶ + correction in ppm)`, an integer
in millionths of the register's resolution; the one rounding is the floor where a cut splits a
step: parts are differences of floor(amount × elapsed / length) in whole milliseconds.

Bounds: |register| < 2⁶³, a step's increment ≤ 9·10¹² / 2 (so that millionths fit int64), times in
ns below 2⁶³. A window depends on its own readings and on MARGIN good ones either side, where one of
those before it is sure to end a step (`mrv.measurement.anchor`); else on as many more as it takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrv.measurement.usual_steps import BLOCK, SPAN_NS, narrow, usual_steps

MILLION = 1_000_000
"""Millionths in one resolution; ppm in one."""
MS_PER_HOUR = 3_600_000
"""Milliseconds in an hour: loads are counts per hour."""
DIP_RUN = 3
"""Longest run of readings that may dip or spike and be passed over."""
MARGIN = DIP_RUN + 2
"""Good readings a window needs on either side, as a rule."""
MAX_INCREMENT = 4_000_000_000_000
"""Largest increment of one step, counts; beyond it the step is a jump whatever the rate."""
LONG_MS = 3_037_000_499
"""Largest ms whose square fits int64; longer steps are split bit by bit."""

STEP, GAP, ROLL_OVER, RESET, DIP, SPIKE, JUMP, BACKWARD, OUT_OF_RANGE = range(9)
"""Places of the counts of a window."""
STATES = 9
"""Number of counts a window has."""


def muldiv(amount: int, elapsed: int, length: int) -> int:
    """floor(amount × elapsed / length) for 0 ≤ elapsed ≤ length, amount ≥ 0, without overflow."""
    whole = amount // length
    rest = amount - whole * length
    if length <= LONG_MS:
        return whole * elapsed + rest * elapsed // length
    quotient = 0
    remainder = 0
    bit = 1 << 61
    while bit > 0:
        quotient *= 2
        remainder *= 2
        if remainder >= length:
            remainder -= length
            quotient += 1
        if elapsed & bit:
            remainder += rest
            if remainder >= length:
                remainder -= length
                quotient += 1
        bit >>= 1
    return whole * elapsed + quotient


def plausible_increment(max_rate: int, elapsed_ms: int) -> int:
    """Largest increment a register can show in that time: rate × time × 1.1 + 1 count."""
    tenths = max_rate * 11 // 10
    hours = tenths // MS_PER_HOUR
    rest = tenths - hours * MS_PER_HOUR
    if elapsed_ms > 10**12 or (hours > 0 and elapsed_ms > MAX_INCREMENT // hours):
        return MAX_INCREMENT
    return min(MAX_INCREMENT, hours * elapsed_ms + rest * elapsed_ms // MS_PER_HOUR + 1)


def correction_at(
    increment: int, elapsed_ms: int, load: Sequence[int], ppm: Sequence[int]
) -> tuple[int, int, int, int]:
    """Correction by mean load: (ppm, curve point below, weight of the one above, out).

    Piecewise linear between calibrated loads (counts per hour), held constant outside them and
    then marked `out` = 1. The weight is in millionths.
    """
    points = len(load)
    if points == 0:
        return 0, 0, 0, 0
    if elapsed_ms <= 0:
        rate = load[points - 1]
    elif increment <= 2_000_000_000_000:
        rate = increment * MS_PER_HOUR // elapsed_ms
    else:
        rate = increment // elapsed_ms * MS_PER_HOUR
    if points == 1:
        return ppm[0], 0, 0, 0
    if rate < load[0]:
        return ppm[0], 0, 0, 1
    if rate >= load[points - 1]:
        out = 1 if rate > load[points - 1] else 0
        return ppm[points - 1], points - 2, MILLION, out
    below = 0
    for point in range(1, points - 1):
        below += load[point] <= rate  # counted, not jumped: no branch for a processor to miss
    weight = (rate - load[below]) * MILLION // (load[below + 1] - load[below])
    return ppm[below] + (ppm[below + 1] - ppm[below]) * weight // MILLION, below, weight, 0


def _window_of(cuts: Sequence[int], moment: int) -> int:
    """Place of the window [cuts[w], cuts[w + 1]) that holds `moment`; −1 or n outside."""
    low = 0
    high = len(cuts)
    while low < high:
        middle = (low + high) // 2
        if cuts[middle] <= moment:
            low = middle + 1
        else:
            high = middle
    return low - 1


def share_out(
    amount: int,
    metered: int,
    start_ms: int,
    end_ms: int,
    place: int,
    cuts: Sequence[int],
    below: int,
    weight: int,
    points: int,
    is_gap: int,
    amounts: list[int],
    metereds: list[int],
    gaps: list[int],
    weights: list[int],
    counts: list[int],
) -> None:
    """Add one step's amount to the windows it falls into; `place` is the window of its start."""
    windows = len(cuts) - 1
    if end_ms < cuts[0] or start_ms >= cuts[windows]:
        return
    if end_ms == cuts[0] and start_ms < end_ms:
        return  # it ends where the first window begins: nothing of it is inside
    first = max(place, 0)
    length = end_ms - start_ms
    done_amount = 0
    done_metered = 0
    if first < windows and cuts[first] > start_ms and length > 0:
        elapsed = min(cuts[first] - start_ms, length)
        done_amount = muldiv(amount, elapsed, length)
        done_metered = muldiv(metered, elapsed, length)
    window = first
    while window < windows and (cuts[window] < end_ms or window == first):
        right = cuts[window + 1]
        if right >= end_ms and not (right == end_ms and length == 0):
            until_amount = amount
            until_metered = metered
        elif length == 0:
            until_amount = 0
            until_metered = 0
        else:
            until_amount = muldiv(amount, right - start_ms, length)
            until_metered = muldiv(metered, right - start_ms, length)
        part = until_metered - done_metered
        amounts[window] += until_amount - done_amount
        metereds[window] += part
        if is_gap:
            gaps[window] += until_amount - done_amount
            counts[window * STATES + GAP] += 1
        if points > 1:
            upper = part // MILLION * weight + part % MILLION * weight // MILLION
            weights[window * points + below + 1] += upper
            weights[window * points + below] += part - upper
        elif points == 1:
            weights[window] += part
        done_amount = until_amount
        done_metered = until_metered
        window += 1


def counter_law(
    t: Sequence[int],
    v: Sequence[int],
    ok: Sequence[int],
    cuts: Sequence[int],
    modulus: int,
    max_rate: int,
    gap_ms: int,
    load: Sequence[int],
    ppm: Sequence[int],
    amounts: list[int],
    metereds: list[int],
    gaps: list[int],
    withheld: list[int],
    weights: list[int],
    counts: list[int],
    cells: list[int],
    room: Sequence[list[int]],
) -> None:
    """Add the steps of a cumulative register to windows.

    A counter that fell to what it can have counted since zero was reset; where no rate is known,
    one that fell to a tenth or less of what it showed. Any other fall ran back and adds nothing.

    `t` ns strictly increasing, `v` counts, `ok` 1 good | 0 failed; `cuts` whole ms, strictly
    increasing, one more than windows. `modulus` 0 = never rolls over; `max_rate` counts per hour,
    0 = unknown; `gap_ms` 0 = no step is a gap. Outputs per window, all added to: corrected and
    metered millionths, millionths inside gap steps, counts withheld as impossible, metered
    millionths by curve point (windows × points), and states (windows × STATES). `cells`, twice as
    many zeros as points and at least 2, and `room`, ROOM sequences of BLOCK + 1, are worked in.
    """
    size = len(t)
    windows = len(cuts) - 1
    points = len(load)
    last = 0
    while last < size and ok[last] == 0:
        last += 1
    following = last + 1
    start_ms = t[last] // MILLION if last < size else 0
    start_place = _window_of(cuts, start_ms)
    ends, steps, rates, corrections, uppers, places = room
    in_blocks = narrow(load, ppm)
    block = 0
    block_stop = 0
    base_ms = 0
    while following < size:
        if 0 <= start_place < windows and last == following - 1 and in_blocks:
            # most steps are usual and end in the window they start in
            if following >= block_stop:
                block = following
                block_stop = min(size, block + BLOCK)
                if t[block_stop - 1] - t[last] > SPAN_NS:
                    block_stop = block + 1
                usual_steps(
                    t,
                    v,
                    block,
                    block_stop,
                    max_rate,
                    gap_ms,
                    load,
                    ppm,
                    ends,
                    steps,
                    rates,
                    corrections,
                    uppers,
                    places,
                )
                base_ms = start_ms
            k = following - block
            started = k
            stop = block_stop - block
            until = cuts[start_place + 1] - base_ms
            counted = 0
            corrected = 0
            out_here = 0
            while k < stop and steps[k] >= 0 and ends[k + 1] < until and ok[block + k] != 0:
                increment = steps[k]
                counted += increment
                corrected += corrections[k]
                below = places[k]
                out_here += below & 1
                cells[below & -2] += increment
                cells[below | 1] += uppers[k]
                k += 1
            if k > started:
                amounts[start_place] += counted * MILLION + corrected
                metereds[start_place] += counted * MILLION
                counts[start_place * STATES + STEP] += k - started
                counts[start_place * STATES + OUT_OF_RANGE] += out_here
                for point in range(points):
                    metered = cells[2 * point] * MILLION
                    upper = cells[2 * point + 1]
                    weights[start_place * points + point] += metered - upper
                    if point < points - 1:
                        weights[start_place * points + point + 1] += upper
                    cells[2 * point] = 0
                    cells[2 * point + 1] = 0
                following = block + k
                last = following - 1
                start_ms = base_ms + ends[k]
                if k == stop:
                    continue
        if ok[following] == 0:
            following += 1
            continue
        end_ms = t[following] // MILLION
        place = start_place
        while place < windows and cuts[place + 1] <= end_ms:
            place += 1
        increment = v[following] - v[last]
        limit = MAX_INCREMENT
        if max_rate > 0:
            limit = plausible_increment(max_rate, end_ms - start_ms)
        state = STEP
        if increment < 0 or increment > limit:
            seen = 0
            ahead = following + 1
            recovers = False
            while ahead < size and seen < DIP_RUN and not recovers:
                if ok[ahead] != 0:
                    seen += 1
                    back = v[ahead] - v[last]
                    bound = MAX_INCREMENT
                    if max_rate > 0:
                        bound = plausible_increment(max_rate, t[ahead] // MILLION - start_ms)
                    recovers = 0 <= back <= bound
                ahead += 1
            inside = 0 <= place < windows
            if recovers:
                if inside:
                    counts[place * STATES + (DIP if increment < 0 else SPIKE)] += 1
                following += 1
                continue
            if increment < 0:
                wrapped = increment + modulus
                wrap_limit = limit if max_rate > 0 else modulus // 2
                if modulus > 0 and 0 <= wrapped <= wrap_limit:
                    state = ROLL_OVER
                    increment = wrapped
                elif 0 <= v[following] <= (limit if max_rate > 0 else v[last] // 10):
                    state = RESET
                    increment = v[following]
                else:
                    state = BACKWARD
                    if inside:
                        withheld[place] += increment
                    increment = 0
            else:
                state = JUMP
                if inside:
                    withheld[place] += increment
                increment = 0
            if inside:
                counts[place * STATES + state] += 1
        correction, below, weight, out = correction_at(increment, end_ms - start_ms, load, ppm)
        if 0 <= place < windows:
            counts[place * STATES + STEP] += 1
            counts[place * STATES + OUT_OF_RANGE] += out
        is_gap = 1 if gap_ms > 0 and end_ms - start_ms > gap_ms else 0
        share_out(
            increment * (MILLION + correction),
            increment * MILLION,
            start_ms,
            end_ms,
            start_place,
            cuts,
            below,
            weight,
            points,
            is_gap,
            amounts,
            metereds,
            gaps,
            weights,
            counts,
        )
        last = following
        start_ms = end_ms
        start_place = place
        following += 1


def amount_law(
    t: Sequence[int],
    length: Sequence[int],
    v: Sequence[int],
    ok: Sequence[int],
    cuts: Sequence[int],
    load: Sequence[int],
    ppm: Sequence[int],
    amounts: list[int],
    metereds: list[int],
    gaps: list[int],
    weights: list[int],
    counts: list[int],
) -> None:
    """Add amounts (an interval's energy, a weighing) to windows; the same splitting rule.

    `t` start of each amount ns, `length` ns (0 = at a moment), `v` counts (negative ones belong
    to the caller's findings and are left out), others as in `counter_law`.
    """
    windows = len(cuts) - 1
    points = len(load)
    for place in range(len(t)):
        if ok[place] == 0 or v[place] < 0 or v[place] > MAX_INCREMENT:
            continue
        start_ms = t[place] // MILLION
        end_ms = (t[place] + length[place]) // MILLION
        correction, below, weight, out = correction_at(v[place], end_ms - start_ms, load, ppm)
        window = _window_of(cuts, start_ms)
        if 0 <= window < windows:
            counts[window * STATES + STEP] += 1
            counts[window * STATES + OUT_OF_RANGE] += out
        share_out(
            v[place] * (MILLION + correction),
            v[place] * MILLION,
            start_ms,
            end_ms,
            window,
            cuts,
            below,
            weight,
            points,
            0,
            amounts,
            metereds,
            gaps,
            weights,
            counts,
        )
