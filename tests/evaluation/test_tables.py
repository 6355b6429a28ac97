"""Rows follow from scores by arithmetic that can be done by hand."""

import pandas as pd
import pytest

from sop_core import metrics, show
from sop_core.evaluation import tables


def row(pair, source, label, method, sdr, sir=0.0, sources=2, video=None, labels="different"):
    return {
        "pair": pair, "sources": sources, "labels": labels, "source": source,
        "clip": f"{label}/{pair}{source}", "video": video or f"v{pair}{source}", "label": label,
        "silent": False, "method": method,
        "sdr": sdr, "sir": sir, "sar": 1.0, "si_sdr": sdr,
    }  # fmt: skip


@pytest.fixture
def scores():
    rows = []
    for pair, (one, two, gain_one, gain_two) in enumerate(
        [("cello", "flute", 6, 2), ("flute", "tuba", -1, 5)]
    ):
        for source, (label, gain) in enumerate([(one, gain_one), (two, gain_two)]):
            rows.append(row(pair, source, label, "model", 1.0 + gain, sir=gain - 3))
            rows.append(row(pair, source, label, "mixture", 1.0))
            rows.append(row(pair, source, label, "oracle_binary", 15.0))
    return pd.DataFrame(rows)


def test_confusion_counts_what_came_out_as_the_other(scores):
    found = {(r["label"], r["other"]): r for r in tables.confusion(scores)}
    assert found["cello", "flute"] == {
        "label": "cello",
        "other": "flute",
        "n": 1,
        "confused": 0,
        "gain": 6,
    }
    assert found["flute", "cello"]["confused"] == 1 and found["flute", "tuba"]["confused"] == 1
    assert found["tuba", "flute"]["gain"] == 5 and len(found) == 4


def test_confusion_of_three_counts_each_other_source():
    rows = [
        row(0, n, label, m, 3.0, 1.0, 3)
        for n, label in enumerate("aab")
        for m in ("model", "mixture")
    ]
    found = {(r["label"], r["other"]): r["n"] for r in tables.confusion(pd.DataFrame(rows))}
    assert found == {("a", "a"): 2, ("a", "b"): 2, ("b", "a"): 1}


def test_a_silent_estimate_confuses_nothing_with_anything():
    rows = [row(0, n, "ab"[n], m, 1.0, -1.0) for n in (0, 1) for m in ("model", "mixture")]
    assert [r["confused"] for r in tables.confusion(pd.DataFrame(rows))] == [1, 1]
    rows[2] |= {"sdr": metrics.FAILED, "sir": metrics.FAILED}  # the model's estimate of b
    found = tables.confusion(pd.DataFrame(rows))
    assert [(r["label"], r["n"]) for r in found] == [("a", 1)]
    axes = show.results.confusion(found).axes[0]  # b was mixed with a, so it has its column
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]


def test_the_mixtures_stand_in_the_order_of_their_gain(scores):
    gains = tables.gains(scores)
    assert gains.index.tolist() == [0, 1] and (gains.model - gains.mixture).tolist() == [4, 2]


def test_differences_are_paired(scores):
    """Ten dB of spread between sources, and yet half a dB of difference is certain."""
    wide = pd.DataFrame(
        [row(p, s, "a", "model", 10.0 * (p % 2) - 3 * s) for p in range(20) for s in (0, 1)]
    )
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


def test_the_table_is_means_over_sources_and_counts_of_mixtures(scores):
    scores.loc[(scores.pair == 1) & (scores.method == "model"), ["sdr", "sir", "sar", "si_sdr"]] = (
        None
    )
    scores.loc[0, ["sdr", "sir", "sar", "si_sdr"]] = [4.00006, -2.0, 8.0, 1.0]
    model, mixture, oracle = tables.table(scores)
    assert model == {
        "method": "model", "n_pairs": 1, "n_excluded": 1, "n_failed": 0,
        "sdr": 3.5, "sir": -1.5, "sar": 4.5, "si_sdr": 2.0, "sdr_ci95": None, "sdr_mixture": 1.0,
    }  # fmt: skip
    assert (mixture["n_pairs"], mixture["n_excluded"], oracle["sdr"], oracle["sdr_mixture"]) == (
        2,
        0,
        15.0,
        1.0,
    )
    (alone,) = tables.table(scores[scores.method == "model"])
    assert alone["sdr_mixture"] is None
    nothing = tables.table(scores[(scores.method == "model") & (scores.pair == 1)])[0]
    assert (
        nothing["sdr"] is None
        and nothing["sdr_ci95"] is None
        and (nothing["n_pairs"], nothing["n_excluded"]) == (0, 1)
    )


def test_the_interval_is_over_the_videos_of_each_mixture():
    rows = [
        row(p, s, "a", "model", float(p + s), video=f"v{p if s else p + 1}")
        for p in range(8)
        for s in (0, 1)
    ]
    scores = pd.DataFrame(rows)
    groups = [{f"v{p}", f"v{p + 1}"} for p in range(8) for _ in (0, 1)]
    expected = metrics.bootstrap(scores.sdr.to_numpy(), groups)
    assert tables.table(scores)[0]["sdr_ci95"] == [pytest.approx(x, abs=5e-5) for x in expected]
    assert all(round(x, 4) == x for x in tables.table(scores)[0]["sdr_ci95"])


def test_there_is_a_table_for_each_value_of_a_column(scores):
    scores.loc[scores.pair == 1, "sources"] = 3
    found = tables.grouped(scores, "sources")
    assert list(found) == ["2", "3"] and [found[n][0]["sdr"] for n in "23"] == [5.0, 3.0]


def test_silence_is_left_out_of_labels_and_confusions(scores):
    scores.loc[scores.pair == 1, ["sdr", "sir"]] = None
    assert [r["label"] for r in tables.per_label(scores)] == ["cello", "flute"]
    assert len(tables.confusion(scores)) == 2 and tables.gains(scores).index.tolist() == [0]
    assert tables.confusion(scores.assign(sdr=None)) == []


def test_confusion_is_a_share_and_a_mean_with_four_decimals():
    rows = []
    for pair, (sir, gain) in enumerate([(-1.0, 1.0), (0.0, 2.0), (2.0, 2.0)]):
        for source, label in enumerate("ab"):
            rows.append(row(pair, source, label, "model", 3.0 + gain, sir))
            rows.append(row(pair, source, label, "mixture", 3.0, -9.0))
    assert tables.confusion(pd.DataFrame(rows)) == [
        {"label": a, "other": b, "n": 3, "confused": 0.3333, "gain": 1.6667}
        for a, b in ("ab", "ba")
    ]


def test_mixtures_of_one_gain_stay_in_their_order():
    rows = [
        row(p, 0, "a", m, s)
        for p, g in enumerate([1, 2] * 20)
        for m, s in (("model", 1.0 + g), ("mixture", 1.0))
    ]
    assert tables.gains(pd.DataFrame(rows)).index.tolist() == [*range(1, 40, 2), *range(0, 40, 2)]


def test_silent_clips_are_named_once_and_in_the_order_of_the_manifest(scores):
    scores.loc[scores.pair == 1, "silent"] = True
    scores.loc[scores.pair == 0, "silent"] = scores.source == 1
    assert tables.excluded(scores) == [
        {"row": 1, "silent": ["flute/01"]}, {"row": 2, "silent": ["flute/10", "tuba/11"]}
    ]  # fmt: skip


@pytest.fixture
def placed():
    """Three instruments: what was found of them, and of the cells in their boxes."""
    return pd.DataFrame(
        {
            "right": [True, True, False], "chance": [0.5, 0.5, 0.25],
            "own": [0.9, 0.8, 0.1], "other": [0.1, 0.2, 0.6], "sdr": [10.0, None, 2.0],
            "pointed": [True, False, False], "ciou": [0.5, 0.3, 0.1], "area": [0.2, 0.1, 0.3],
            "cells": [10, 20, 3], "sounding": [5, 10, 1], "cells_right": [5, 6, 0],
        }
    )  # fmt: skip


def test_localization_is_shares_of_instruments_and_of_cells(placed):
    where = tables.localization(placed)
    assert where == {
        "n_instruments": 3, "share_right": 0.6667, "share_chance": 0.4167, "correlation_own": 0.6,
        "correlation_other": 0.3, "sdr": 6.0, "pointing": 0.3333, "pointing_chance": 0.2,
        "ciou": 0.3, "ciou_all": 0.2, "ciou_30": 0.6667, "ciou_50": 0.3333, "auc": where["auc"],
        "n_cells": 33, "share_cells_sounding": 0.4848, "share_cells_right": 0.6875,
    }  # fmt: skip
    # Thresholds 0, 0.05 .. 1: the curve is 1 to 0.1, 2/3 from 0.15 to 0.3, 1/3 from 0.35 to 0.5,
    # then 0; by trapezes.
    assert where["auc"] == pytest.approx(0.05 * (0.5 + 2 + 4 * 2 / 3 + 4 / 3), abs=5e-5)
    nothing = tables.localization(placed.assign(cells=0, sounding=0, cells_right=0, sdr=None))
    assert (nothing["share_cells_sounding"], nothing["share_cells_right"], nothing["sdr"]) == (
        0,
        None,
        None,
    )
    one = tables.localization(
        placed.assign(cells=[1, 0, 0], sounding=[1, 0, 0], cells_right=[1, 0, 0])
    )
    assert (one["share_cells_sounding"], one["share_cells_right"]) == (1, 1)
    lines = [" ".join(line.split()) for line in tables.text_localization(where).splitlines()]
    assert lines[0] == "localization of 3 instruments:" and len(lines) == 5
    assert lines[1].startswith("67 % sound") and lines[1].endswith("(by chance 42 %; SDR 6.00 dB)")
    assert lines[2].startswith("33 % have the peak") and lines[2].endswith("(by chance 20 %)")
    assert (
        lines[3]
        == "cIoU 0.30 (of the whole picture 0.20): 67 % reach 0.3, 33 % reach 0.5; AUC 0.33"
    )
    assert lines[4].startswith("48 % of the 33 cells") and "; 69 % of these" in lines[4]
    assert "; SDR - dB)" in tables.text_localization(
        nothing
    ) and "; - of these" in tables.text_localization(nothing)


def test_names_are_counted_where_a_model_has_them(placed):
    assert "share_named" not in tables.localization(placed)
    assert "share_named" not in tables.localization(placed.assign(looks="", named=None))
    named = placed.assign(looks=["cello", "unknown", "tuba"], named=[True, False, False])
    where = tables.localization(named)
    assert (where["share_named"], where["share_unknown"]) == (0.3333, 0.3333)
    text = " ".join(tables.text_localization(where).split())
    assert "33 % have the right name, told by the picture of their box; 33 % are unknown" in text


def test_claims_are_means_and_the_share_that_reaches_the_threshold():
    claimed = pd.DataFrame(
        {
            "sound": ["own", "noise", "own", "noise", "noise"],
            "peak": [0.9, 0.5, 0.4, 0.1, 0.6], "mean": [0.2, 0.1, 0.3, 0.1, 0.05],
        }
    )  # fmt: skip
    rows = tables.claims(claimed, 0.5)
    assert rows == [
        {"sound": "own", "n": 2, "peak": 0.65, "mean": 0.25, "over": 0.5},
        {"sound": "noise", "n": 3, "peak": 0.4, "mean": 0.0833, "over": 0.6667},
    ]
    first, *lines = tables.text_claims({"threshold": 0.5, "rows": rows}).splitlines()
    assert first.endswith(" 0.5:")
    assert [line.split() for line in lines] == [
        ["own", "0.650", "50", "%", "of", "2"], ["noise", "0.400", "67", "%", "of", "3"]
    ]  # fmt: skip


def numbers(method, sdr, interval):
    return {
        "method": method, "n_pairs": 7, "n_excluded": 2, "n_failed": 1,
        "sdr": sdr, "sir": 12.345, "sar": None, "si_sdr": -1.0, "sdr_ci95": interval,
    }  # fmt: skip


PROTOCOL = {
    "profile": "default", "mask": "binary", "checkpoint": "abc", "leaked": 0,
    "manifest": "0123456789", "n_pairs": 9, "sources": 2, "rate": 11_025, "seconds": 5.944,
    "equal_level": False,
    "epoch_chosen_on": None, "metric": "BSS Eval", "n_same_video": 0,
    "versions": {"sop_core": "0.1", "torch": "2.9"},
}  # fmt: skip


def test_rows_stand_in_columns_under_their_names():
    rows = [numbers("model", 5.0, [-4.0, 6.255]), numbers("mixture", None, None)]
    head, *lines = tables.text_table(rows).splitlines()
    assert " ".join(head.split()) == "method SDR SIR SAR SI-SDR 95 % of SDR pairs excluded failed"
    assert [line.split() for line in lines] == [
        ["model", "5.00", "12.35", "-", "-1.00", "[", "-4.00,", "6.26]", "7", "2", "1"],
        ["mixture", "-", "12.35", "-", "-1.00", "-", "7", "2", "1"],
    ]
    for name, value in (("SDR", "5.00"), ("SIR", "12.35"), ("SI-SDR", "-1.00")):
        assert head.index(f" {name}") + len(name) == lines[0].index(f" {value}") + len(
            value
        )  # both end in one column
    for name, value in (("pairs", "7"), ("excluded", "2"), ("failed", "1")):
        ends = {
            head.index(name) + len(name),
            *(line.rindex(f" {value} ") + 2 for line in (f"{x} " for x in lines)),
        }
        assert len(ends) == 1, name


LOCALIZATION = {
    "n_instruments": 4, "share_right": 0.75, "share_chance": 0.5, "correlation_own": 0.5,
    "correlation_other": 0.25, "sdr": None, "pointing": 1.0, "pointing_chance": 0.1,
    "ciou": 0.5, "ciou_all": 0.1, "ciou_30": 0.75, "ciou_50": 0.25, "auc": 0.5,
    "n_cells": 40, "share_cells_sounding": 0.5, "share_cells_right": None,
}  # fmt: skip
TEXT = """\
method                    SDR    SIR    SAR SI-SDR   95 % of SDR      pairs  excluded  failed
model                    4.00   0.00   1.00   4.00         -              2         0       0
mixture                  1.00   0.00   1.00   1.00         -              2         0       0
oracle_binary           15.00   0.00   1.00  15.00         -              2         0       0

profile default, binary mask, checkpoint abc; 1 MIXTURES HOLD VIDEOS THAT IT WAS TRAINED ON
manifest 0123456789: 9 mixtures of 2 sources, 5.94 s at 11025 Hz
best epoch chosen on: not known
BSS Eval
sop_core 0.1, torch 2.9

left out: row 3, since a/b is silent there

duets, each instrument's sound taken from its box:
method                    SDR    SIR    SAR SI-SDR   95 % of SDR      pairs  excluded  failed
model                    5.00  12.35      -  -1.00   [ -4.00,  16.26]     7         2       1

localization of 4 instruments:
  75 % sound, from their box, more like their own stem than another's (by chance 50 %; SDR - dB)
  100 % have the peak of their own sound's map in their box (by chance 10 %)
  cIoU 0.50 (of the whole picture 0.10): 75 % reach 0.3, 25 % reach 0.5; AUC 0.50
  50 % of the 40 cells in their boxes sound, each clicked alone; - of these more like their \
box's stem than another's

the greatest share of a sound that a pixel claims, and how many maps reach 0.5:
  own       0.750    50 % of 4"""


def test_the_text_of_an_evaluation_to_the_letter(scores):
    """By hand: gains of 6, 2, -1 and 5 dB over a mixture at 1 dB, whose SIR is the gain less 3."""
    own = {"sound": "own", "n": 4, "peak": 0.75, "mean": 0.2, "over": 0.5}
    results = {
        "protocol": PROTOCOL | {"leaked": 1}, "rows": tables.table(scores),
        "by_sources": {}, "by_labels": {}, "compared": [],
        "excluded": [{"row": 3, "silent": ["a/b"]}],
        "duets": [numbers("model", 5.0, [-4.0, 16.255])], "localization": LOCALIZATION,
        "claims": {"threshold": 0.5, "rows": [own]},
    }  # fmt: skip
    assert tables.text_results(results) == TEXT


def test_checkpoints_stand_below_each_other_with_their_difference_from_the_first():
    first = [numbers("mixture", 0.0, None), numbers("model", 5.0, [4.0, 6.0])]
    better = [numbers("model", 6.5, [5.5, 7.25])]
    unknown = [numbers("model", None, None)]
    gain, none = {"sdr": 1.5, "sdr_ci95": [0.5, 2.5]}, {"sdr": None, "sdr_ci95": None}
    others = [
        {"folder": "x" * 40, "rows": better, "difference": gain, "protocol": {"leaked": 40}},
        {"folder": "b", "rows": unknown, "difference": none, "protocol": {"leaked": None}},
    ]
    head, *lines = tables.text_compared(first, others, PROTOCOL).splitlines()
    assert head.split()[:2] == ["checkpoint", "SDR"] and head.count("95 %") == 2
    assert [line.split() for line in lines] == [
        ["(the", "first)", "5.00", "[", "4.00,", "6.00]", "-", "-", "others"],
        [
            *["x" * 32, "6.50", "[", "5.50,", "7.25]"],
            *["1.50", "[", "0.50,", "2.50]", "40", "of", "these"],
        ],
        ["b", "-", "-", "-", "-", "not", "known"],
    ]


@pytest.mark.parametrize(
    ("leaked", "said"), [(None, "not known"), (0, "none of these"), (3, "3 MIXTURES HOLD VIDEOS")]
)
def test_the_protocol_says_what_was_measured_on_what(leaked, said):
    first, second, chosen, metric, versions = tables.text_protocol(
        PROTOCOL | {"leaked": leaked}
    ).splitlines()
    assert first.startswith("profile default, binary mask, checkpoint abc; ") and said in first
    assert second == "manifest 0123456789: 9 mixtures of 2 sources, 5.94 s at 11025 Hz"
    loud = tables.text_protocol(PROTOCOL | {"equal_level": True})
    assert f"{second}, equally loud\n" in loud
    assert chosen == "best epoch chosen on: not known" and metric == "BSS Eval"
    assert versions == "sop_core 0.1, torch 2.9"
    assert "chosen on: others\n" in tables.text_protocol(PROTOCOL | {"epoch_chosen_on": "others"})


def test_each_part_of_the_results_is_a_paragraph(placed):
    model, claims = numbers("model", 5.0, None), {"threshold": 0.5, "rows": []}
    results = {
        "protocol": PROTOCOL, "rows": [model], "by_sources": {"2": [model]},
        "by_labels": {"different": [model]}, "excluded": [], "compared": [],
    }  # fmt: skip
    table, protocol = tables.text_table([model]), tables.text_protocol(PROTOCOL)
    assert tables.text_results(results) == f"{table}\n\n{protocol}"
    same, three, duets = (numbers(m, 1.0, None) for m in ("same", "three", "duets"))
    where = tables.localization(placed)
    other = {"folder": "b", "rows": [model], "difference": model, "protocol": PROTOCOL}
    protocol = PROTOCOL | {"n_same_video": 4}
    results |= {
        "protocol": protocol, "by_sources": {"2": [model], "3": [three]},
        "by_labels": {"different": [model], "same": [same]}, "compared": [other],
        "excluded": [{"row": 6, "silent": ["a/1", "b/2"]}, {"row": 8, "silent": ["c/3"]}],
        "duets": [duets], "localization": where, "claims": claims,
    }  # fmt: skip
    assert tables.text_results(results).split("\n\n") == [
        table,
        tables.text_protocol(protocol),
        f"mixtures of 3:\n{tables.text_table([three])}",
        f"different labels:\n{table}",
        f"same labels:\n{tables.text_table([same])}",
        "left out: row 6, since a/1, b/2 is silent there",
        "left out: row 8, since c/3 is silent there",
        "4 mixtures are of one video with itself",
        tables.text_compared([model], [other], protocol),
        f"duets, each instrument's sound taken from its box:\n{tables.text_table([duets])}",
        tables.text_localization(where),
        tables.text_claims(claims),
    ]
