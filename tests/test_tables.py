"""Rows follow from scores by arithmetic that can be done by hand."""

import pandas as pd
import pytest

from sop_core import metrics, tables


def row(pair, source, label, method, sdr, sir=0.0, sources=2, video=None, labels="different"):
    return {
        "pair": pair, "sources": sources, "labels": labels, "source": source, "clip": f"{label}/{pair}{source}",
        "video": video or f"v{pair}{source}", "label": label, "silent": False, "method": method,
        "sdr": sdr, "sir": sir, "sar": 1.0, "si_sdr": sdr,
    }  # fmt: skip


@pytest.fixture
def scores():
    rows = []
    for pair, (one, two, gain_one, gain_two) in enumerate([("cello", "flute", 6, 2), ("flute", "tuba", -1, 5)]):
        for source, (label, gain) in enumerate([(one, gain_one), (two, gain_two)]):
            rows.append(row(pair, source, label, "model", 1.0 + gain, sir=gain - 3))
            rows.append(row(pair, source, label, "mixture", 1.0))
            rows.append(row(pair, source, label, "oracle_binary", 15.0))
    return pd.DataFrame(rows)


def test_confusion_counts_what_came_out_as_the_other(scores):
    found = {(r["label"], r["other"]): r for r in tables.confusion(scores)}
    assert found["cello", "flute"] == {"label": "cello", "other": "flute", "n": 1, "confused": 0, "gain": 6}
    assert found["flute", "cello"]["confused"] == 1 and found["flute", "tuba"]["confused"] == 1
    assert found["tuba", "flute"]["gain"] == 5 and len(found) == 4


def test_confusion_of_three_counts_each_other_source():
    rows = [row(0, n, label, m, 3.0, 1.0, 3) for n, label in enumerate("aab") for m in ("model", "mixture")]
    found = {(r["label"], r["other"]): r["n"] for r in tables.confusion(pd.DataFrame(rows))}
    assert found == {("a", "a"): 2, ("a", "b"): 2, ("b", "a"): 2}


def test_the_mixtures_stand_in_the_order_of_their_gain(scores):
    gains = tables.gains(scores)
    assert gains.index.tolist() == [0, 1] and (gains.model - gains.mixture).tolist() == [4, 2]


def test_differences_are_paired(scores):
    """Ten dB of spread between sources, and yet half a dB of difference is certain."""
    wide = pd.DataFrame([row(p, s, "a", "model", 10.0 * (p % 2) - 3 * s) for p in range(20) for s in (0, 1)])
    better = wide.assign(sdr=wide.sdr + 0.5)
    found = tables.difference(wide, better)
    assert found == {"n": 40, "sdr": 0.5, "sdr_ci95": [0.5, 0.5]}
    assert tables.difference(better, wide)["sdr"] == -0.5
    low, high = tables.table(wide)[0]["sdr_ci95"]
    assert high - low > 2


def test_differences_leave_out_what_one_of_them_has_not(scores):
    other = scores.assign(sdr=scores.sdr.where(scores.pair != 1))
    assert tables.difference(scores, other)["n"] == 2


def test_the_silent_are_listed_by_row_and_name(scores):
    scores.loc[(scores.pair == 1) & (scores.source == 0), "silent"] = True
    scores.loc[scores.pair == 1, ["sdr", "sir", "sar", "si_sdr"]] = None
    assert tables.excluded(scores) == [{"row": 2, "silent": ["flute/10"]}]
    assert {r["n_excluded"] for r in tables.table(scores)} == {1}


def test_silent_estimates_are_counted_as_failures_and_stay_in_the_mean(scores):
    scores.loc[0, "sdr"] = metrics.FAILED
    model = tables.table(scores)[0]
    assert (model["method"], model["n_failed"]) == ("model", 1)
    assert model["sdr"] == pytest.approx((metrics.FAILED + 3 + 0 + 6) / 4)


def test_labels_tell_their_head_room(scores):
    rows = {r["label"]: r for r in tables.per_label(scores)}
    assert rows["cello"] == {"label": "cello", "n": 1, "sdr": 7, "sdr_mixture": 1, "sdr_oracle": 15}
    assert rows["flute"]["sdr"] == pytest.approx(1.5) and rows["flute"]["n"] == 2
