"""Settings files."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellbrook.core.params import SegmentParams
from cellbrook.core.settings import differing, read_settings, settings_text
from cellbrook.errors import UsageError


def test_what_is_written_is_read_again(tmp_path):
    params = SegmentParams.from_keywords(
        model='C:\\models\\ä "b"',
        diameter="12um",
        min_size=0,
        flow_threshold=None,
        fill_holes=False,
        niter=200,
    )
    path = tmp_path / "größe.toml"
    path.write_text(settings_text(differing(params), ["made by\nhand"]), encoding="utf-8")
    found = read_settings(path)
    assert found == {k: v for k, v in differing(params).items() if v is not None}
    assert path.read_text(encoding="utf-8").startswith("# made by hand\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9))
def test_any_value_survives(tmp_path, text, number, whole):
    path = tmp_path / "s.toml"
    values = {"model": text, "cellprob_threshold": number, "min_size": whole}
    path.write_text(settings_text(values), encoding="utf-8")
    assert read_settings(path) == values


def test_scalars_of_numpy_are_as_good_as_pythons():
    wishes = {
        "diameter": np.float32(30),
        "min_size": np.int64(9),
        "fill_holes": np.bool_(False),
        "axes": np.str_("YX"),
        "min_score": np.array(0.5),
    }
    found = SegmentParams.from_keywords(**wishes).to_keywords()
    told = [repr(found[name]) for name in wishes]
    assert told == ["'30.0'", "9", "False", "'YX'", "0.5"]


@pytest.mark.parametrize(
    "wish",
    [{"min_size": "a"}, {"min_score": "0.5"}, {"threads": "2"}, {"threads": True}, {"target": ["cells"]}],
)
def test_keywords_of_a_wrong_type(wish):
    with pytest.raises(UsageError, match=f"{next(iter(wish))} must be"):
        SegmentParams.from_keywords(**wish)


def test_what_belongs_to_a_machine_is_not_written():
    assert differing(SegmentParams.from_keywords(threads=3, device="cpu", batch_size=2, min_size=9)) == {
        "min_size": 9
    }


def test_numbers_may_stand_for_text_and_whole_for_fractions(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("diameter = 30\nchannels = 1\ncellprob_threshold = -1\n")
    assert read_settings(path) == {"diameter": "30", "channels": "1", "cellprob_threshold": -1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("min_sise = 3", "did you mean min_size"),
        ("[masks]\nmin_size = 3", "unknown parameter 'masks'"),
        ("min_size = 2.5", "min_size must be a whole number, got 2.5"),
        ("min_size = true", "min_size must be a whole number, got True"),
        ("fill_holes = 1", "fill_holes must be true or false, got 1"),
        ('cellprob_threshold = "high"', "cellprob_threshold must be a number"),
        ('compat = "imagej"', "compat must be 'cellpose'"),
        ("min_score = 40", "min_score is a number from 0 to 1, got 40.0"),
        ("min_size = ", "are no TOML"),
        ("\xff", "are no TOML"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text, words, tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(UsageError, match="settings") as caught:
        read_settings(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(tmp_path / "nowhere.toml")
