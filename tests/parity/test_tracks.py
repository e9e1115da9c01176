"""Scores of tracks equal those of the Cell Tracking Challenge's measures (recorded by record_tracks.py)."""

from pathlib import Path

import numpy as np
import pytest

from cellbrook.metrics import Tracks, score_tracks

FILMS = np.load(Path(__file__).with_name("tracks_ctc.npz"))


def tracks(k, side):
    lines = [tuple(map(int, line)) for line in FILMS[f"{k}/{side}_lines"]]
    return Tracks(FILMS[f"{k}/{side}"], lines)


@pytest.mark.parametrize("k", range(int(FILMS["films"])))
def test_tracks_equal_the_challenge(k):
    got = score_tracks(tracks(k, "true"), tracks(k, "pred"))
    counts = (
        got.joined, got.missed, got.invented, got.wrong_links, got.missing_links, got.changed_links,
    )  # fmt: skip
    assert counts == tuple(FILMS[f"{k}/counts"])
    scores = (got.det, got.seg, got.tra, got.lnk)
    np.testing.assert_allclose(scores, FILMS[f"{k}/scores"], rtol=0, atol=1e-12)


def test_every_kind_of_error_is_in_the_films():
    assert sum(FILMS[f"{k}/counts"] for k in range(int(FILMS["films"]))).min() > 5
