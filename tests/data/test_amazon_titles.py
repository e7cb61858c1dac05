"""Titles of Amazon's files hold HTML, sometimes written as entities, sometimes twice."""

from __future__ import annotations

import pytest

from bifair_dist.data.sources.amazon import _plain


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("The <b>Best</b> of", "The Best of"),
        ("One<br />Two", "One Two"),
        ('<span class="a-size-large">Three</span>', "Three"),
        ("Rock &amp; Roll", "Rock & Roll"),
        ("&lt;i&gt;Four&lt;/i&gt;", "Four"),
        ("a <b and c> d", "a <b and c> d"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("  two  blanks  ", "  two  blanks  "),  # nothing of HTML: as it was
    ],
)
def test_tags_and_entities_go_and_nothing_else(title: str, plain: str) -> None:
    assert _plain(title) == plain
