import numpy as np
import pytest

from cellbrook.errors import UsageError
from cellbrook.io import StoredImage, open_image, resolve_channels
from cellbrook.io import open as open_module


def image(*names):
    source = StoredImage(levels=(np.zeros((len(names), 4, 4)),), axes="CYX", channel_names=names)
    return open_module._settle(source, "cells.tif", None, None)


@pytest.mark.parametrize(
    ("spec", "indices", "roles"),
    [
        (None, (0, 1, 2), (None, None, None)),
        ("2,0", (2, 0), (None, None)),
        (1, (1,), (None,)),
        ([2, "dapi"], (2, 0), (None, None)),
        ("gfp", (1,), (None,)),
        (" DAPI , GFP-c ", (0, 1), (None, None)),
        ("d", (0,), (None,)),
        ("nucleus=2,cell=0", (2, 0), ("nucleus", "cell")),
        ("Nucleus = dapi", (0,), ("nucleus",)),
    ],
)
def test_channels_by_index_name_and_role(spec, indices, roles):
    found = resolve_channels(spec, image("DAPI", "GFP-cyto", "Phase 1"))
    assert (found.indices, found.roles) == (indices, roles)
    assert found.names == tuple(("DAPI", "GFP-cyto", "Phase 1")[i] for i in indices)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("3", "there is no channel 3; cells.tif has channels 0 (DAPI), 1 (GFP 1), 2 (GFP 2)"),
        ("-1", "there is no channel -1;"),
        ("RFP", "there is no channel 'RFP';"),
        ("GFP", "channel 'GFP' could be GFP 1 and GFP 2;"),
        ("0,DAPI", "channel 0 (DAPI) is asked for twice"),
        ("cell=0,cell=1", "the role 'cell' is given twice"),
        ("=1", "a role stands before '='"),
        ("", "no channel is named;"),
        ("0,", "there is no channel ''"),
        ([], "no channel is named;"),
    ],
)
def test_errors_list_the_channels_there_are(spec, message):
    with pytest.raises(UsageError) as caught:
        resolve_channels(spec, image("DAPI", "GFP 1", "GFP 2"))
    assert str(caught.value).startswith(message)


def test_a_name_wins_over_what_it_could_mean():
    assert resolve_channels("488", image("561", "488")).indices == (1,)
    assert resolve_channels("1", image("1", "0")).indices == (0,)
    assert resolve_channels(["a=b"], image("x", "a=b")).indices == (1,)
    assert resolve_channels("GFP", image("GFP 2", "GFP")).indices == (1,)


def test_roles_are_looked_up():
    found = resolve_channels("nucleus=1", image("a", "b"))
    assert (found.index_of("nucleus"), found.index_of("cell")) == (1, None)


def test_an_image_without_a_channel_axis_has_one():
    assert resolve_channels(None, open_image(np.zeros((4, 4)))).indices == (0,)
    with pytest.raises(UsageError, match=r"no channel 1; array has channel 0$"):
        resolve_channels(1, open_image(np.zeros((4, 4))))
