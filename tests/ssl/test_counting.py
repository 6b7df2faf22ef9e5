"""Histograms under a mask are numpy's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs.ssl.counting import count_bins, count_values, quantile_bin

masks = hnp.arrays(bool, (6, 7))


@settings(deadline=None)  # compiled at the first call
@given(hnp.arrays(np.uint16, (6, 7), elements=st.integers(0, 99)), masks)
def test_values_are_counted_as_bincount_does(values, chosen):
    found = count_values(values, chosen, 100)
    assert (found == np.bincount(values[chosen], minlength=100)).all()


@settings(deadline=None)
@given(hnp.arrays(np.float32, (6, 7), elements=st.integers(0, 64).map(float)), masks)
def test_bins_are_counted_as_histogram_does(values, chosen):
    found = count_bins(values, chosen, 16, 0.0, 64.0)
    assert (found == np.histogram(values[chosen], 16, (0, 64))[0]).all()


@given(hnp.arrays(np.int64, 12, elements=st.integers(0, 9)), st.floats(0.01, 1))
def test_a_quantile_has_its_fraction_at_or_below_it(counts, fraction):
    at = quantile_bin(counts, fraction)
    total = counts.sum()
    if total:
        assert counts[: at + 1].sum() >= fraction * total
        assert counts[:at].sum() < fraction * total
