"""The sentences that a report begins with, on figures made up for them."""

from __future__ import annotations

from typing import Any

import pytest

from bifair_dist.report.compared import comparison
from bifair_dist.report.headline import headline


def of(recall: float, utility: dict[str, float | None], cv: float | None) -> dict[str, Any]:
    return {"recall@20": recall, "ndcg@20": 0.1, "groups": {"genre": {"utility": utility, "cv": cv}}}


def entry(before: dict[str, Any] | None, after: dict[str, Any], change: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "group": "genre",
        "test": after,
        "before": before and {"test": before},
        "intervals": {
            "after": {"recall@20": [0.18, 0.21], "groups": {"genre": {"utility": {"A": [0.05, 0.1]}}}},
            "change": change,
        },
    }


def change(recall: list[float], cv: list[float], **utility: list[float]) -> dict[str, Any]:
    return {"recall@20": recall, "groups": {"genre": {"cv": cv, "utility": utility}}}


BEFORE = of(0.2, {"A": 0.05, "B": 0.3, "C": 0.2, "D": None}, 0.5)
AFTER = of(0.198, {"A": 0.08, "B": 0.24, "C": 0.2, "D": None}, 0.4)


def test_every_balanced_table_has_its_sentence() -> None:
    before, after = of(0.2, {"A": 0.05, "B": 0.3}, 0.5), of(0.2, {"A": 0.08, "B": 0.24}, 0.4)
    for figures, cv in ((before, 0.9), (after, 1.2)):
        figures["groups"]["popularity"] = {"utility": {"head": 0.3}, "cv": cv, "min": 0.1}
    moved = change([-0.1, 0.1], [-0.3, -0.1], A=[0.4, 0.9], B=[-0.3, 0.05])
    moved["groups"]["popularity"] = {"cv": [0.2, 0.5], "utility": {}}
    lead, *details = headline({**entry(before, after, moved), "tables": ["genre", "popularity"]})
    assert lead.startswith("Clear losses: CV of popularity rose by 33 %.")
    assert any(line.startswith("CV of popularity (lower is fairer): from 0.9000 to 1.2000") for line in details)


def test_clear_changes() -> None:
    clear = change([-0.02, -0.001], [-0.3, -0.1], A=[0.4, 0.9], B=[-0.3, -0.05], C=[-0.1, 0.1])
    lead, *details = headline(entry(BEFORE, AFTER, clear))
    assert lead == (
        "Clear losses: Recall@20 fell by 1.0 %. The worst-served genre (A) gained 60 % (95 % interval +40 % to +90 %) "
        "and inequality among the groups of genre fell by 20 %."
    )
    assert details == [
        "Recall@20: from 0.2000 to 0.1980, -1.0 % (95 % interval -2.0 % to -0.1 %).",
        "Utility of A: from 0.0500 to 0.0800, +60 % (95 % interval +40 % to +90 %).",
        "CV of genre (lower is fairer): from 0.5000 to 0.4000, -20 % (95 % interval -30 % to -10 %).",
        "Of 3 groups of genre, 1 clearly gained, 1 clearly lost: B (-20 %).",
    ]


def test_every_clear_loss_is_said_first_also_of_what_was_not_balanced() -> None:
    """Recall did not clearly change; NDCG did, and another table's worst groups are not served at all any more."""
    before, after = (
        {
            "recall@20": 0.2, "ndcg@20": ndcg, "hit_ratio@20": 0.5,
            "groups": {
                "popularity": {"utility": {"head": 0.3, "tail": least}, "cv": cv, "min": least},
                "genre": {"utility": {"A": 0.1, "B": 0.2}, "cv": 0.3, "min": 0.1},
            },
        }
        for ndcg, least, cv in ((0.1, 0.02, 0.5), (0.093, 0.0, 0.8))
    )  # fmt: skip
    changed: dict[str, Any] = {
        "recall@20": [-0.02, 0.01], "ndcg@20": [-0.09, -0.05], "hit_ratio@20": [0.01, 0.02],
        "groups": {
            "popularity": {"cv": [0.5, 0.7], "min": [-1.0, -1.0], "utility": {}},
            "genre": {"cv": [-0.1, 0.1], "min": [-0.1, 0.1], "utility": {"A": [-0.1, 0.1], "B": [-0.1, 0.1]}},
        },
    }  # fmt: skip
    lead = headline(entry(before, after, changed))[0]
    assert lead.startswith(
        "Clear losses: NDCG@20 fell by 7.0 %; MIN of popularity fell to 0; CV of popularity rose by 60 %. "
    )
    assert "Recall@20 did not clearly change" in lead
    fine = {**changed, "ndcg@20": [-0.09, 0.001], "groups": {"popularity": {}, "genre": changed["groups"]["genre"]}}
    assert headline(entry(before, after, fine))[0].startswith("Recall@20 did not clearly change")


def test_what_the_interval_does_not_tell_from_nothing_is_no_change() -> None:
    vague = change([-0.02, 0.001], [-0.3, 0.1], A=[-0.1, 0.9], B=[-0.3, 0.05], C=[-0.1, 0.1])
    lead, *details = headline(entry(BEFORE, AFTER, vague))
    assert lead.count("did not clearly change") == 3 and "gained" not in lead and "fell" not in lead
    assert details[-1] == "Of 3 groups of genre, 0 clearly gained, none clearly lost."


def test_without_the_lists_before_there_are_no_intervals() -> None:
    lead, *details = headline(entry(BEFORE, AFTER, None))
    assert "fell by 1.0 %" in lead and "interval" not in " ".join(details) and len(details) == 3


def test_a_run_without_a_before() -> None:
    (said,) = headline(entry(None, AFTER, None))
    assert said == (
        "Recall@20 is 0.1980 (95 % interval 0.1800 to 0.2100). The worst-served genre (A) gets 0.0800 "
        "(95 % interval 0.0500 to 0.1000), the best-served (B) 0.2400, 3.0 times as much."
    )


@pytest.mark.parametrize("cv", [None, 0.0])
def test_figures_that_are_not_there(cv: float | None) -> None:
    """A group that nothing was found for, an inequality that is not defined or none: no division by it."""
    before = of(0.0, {"A": 0.0, "B": 0.0}, cv)
    lead = headline(entry(before, AFTER, None))[0]
    assert "Recall@20 began at nothing" in lead and "(A) began at nothing" in lead


def compared(*figures: tuple[str, float, float | None]) -> str:
    """The first sentences about runs of (name, recall, CV), each with an interval of .01 to both sides."""

    def one(name: str, recall: float, cv: float | None) -> dict[str, Any]:
        test = {**of(recall, {"A": 0.1}, cv)}
        test["groups"]["genre"]["min"] = 0.1
        ends = {"recall@20": [recall - 0.01, recall + 0.01], "groups": {"genre": {"cv": cv and [cv - 0.01, cv + 0.01]}}}
        about = {"rule": None, "group": "genre", "method": "m", "before": None, "intervals": {"after": ends}}
        return {"name": name, "test": test, **about}

    content = {"k": 20, "dataset": {"groups": {"genre": {}}}, "runs": [one(*each) for each in figures]}
    return comparison(content)["lead"]


def test_equal_runs_have_no_winner_and_winners_carry_intervals() -> None:
    assert compared(("a", 0.2, 0.5), ("b", 0.2, 0.5)) == (
        "No run has the highest recall@20: all have 0.2000. No run has the least inequality among the "
        "groups of genre: all have CV 0.5000."
    )
    told = compared(("a", 0.2, 0.5), ("b", 0.195, 0.3), ("c", 0.2, None))
    assert "a and c have the highest recall@20 (0.2000, 95 % interval 0.1900 to 0.2100; b lies inside it)." in told
    assert "b has the least inequality among the groups of genre (CV 0.3000, 95 % interval 0.2900 to 0.3100)." in told
