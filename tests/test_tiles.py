from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbrook.core.progress import NoProgress
from cellbrook.errors import Cancelled, ModelError, UsageError
from cellbrook.tiles import TilePlan, _weight_lines, plan_tiles, run_tiled

RNG = np.random.default_rng(3)


@st.composite
def plans(draw: st.DrawFn, max_side: int = 300) -> tuple[TilePlan, dict[str, int | bool]]:
    stride = draw(st.sampled_from([1, 2, 8, 16]))
    tile = stride * draw(st.integers(1, 64 // stride))
    options: dict[str, int | bool] = {
        "tile_size": tile,
        "overlap": draw(st.integers(0, tile - stride)),
        "stride": stride,
        "fixed": draw(st.booleans()),
    }
    side = st.integers(1, min(max_side, 20 * tile))
    return plan_tiles((draw(side), draw(side)), **options), options


def one_tile(plan: TilePlan) -> TilePlan:
    return TilePlan(plan.shape_YX, plan.padded_YX, plan.padded_YX, (0,), (0,))


# --- planning -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(plans(2000))
def test_tiles_cover_the_image_with_the_overlap_asked_for(drawn: tuple[TilePlan, dict]) -> None:
    plan, options = drawn
    assert len(plan.tiles) == len(plan)
    axes = zip(plan.shape_YX, plan.padded_YX, plan.tile_YX, (plan.starts_y, plan.starts_x), strict=True)
    for length, padded, tile, starts in axes:
        assert starts[0] == 0
        assert starts[-1] + tile == padded >= length
        assert all(n % options["stride"] == 0 for n in (*starts, tile, padded))
        assert tile <= options["tile_size"]
        shared = [a + tile - b for a, b in pairwise(starts)]
        assert min(shared, default=options["tile_size"]) >= options["overlap"]
        assert max(shared, default=0) - min(shared, default=0) <= options["stride"], "spread evenly"
        if options["fixed"]:
            assert tile == options["tile_size"]
        else:
            assert padded - length < options["stride"], "no more padding than the stride asks for"
        # one tile fewer would not do: the most that n - 1 tiles can cover, in whole strides
        shared_least = -(-options["overlap"] // options["stride"]) * options["stride"]
        reach = options["tile_size"] + (len(starts) - 2) * (options["tile_size"] - shared_least)
        assert len(starts) == 1 or reach < length


@pytest.mark.parametrize(
    ("side", "tile_size", "overlap", "count", "tile"),
    [
        (100, 256, 48, 1, 112),
        (256, 256, 48, 1, 256),
        (512, 256, 32, 9, 192),
        (512, 512, 64, 1, 512),
        (1024, 256, 48, 25, 256),
        (1024, 512, 64, 9, 384),
        (1024, 768, 64, 4, 544),
        (2048, 384, 48, 36, 384),
    ],
)
def test_counts(side: int, tile_size: int, overlap: int, count: int, tile: int) -> None:
    plan = plan_tiles((side, side), tile_size=tile_size, overlap=overlap, stride=16)
    assert (len(plan), plan.tile_YX) == (count, (tile, tile))
    assert plan.pixels == count * tile**2


def test_a_fixed_tile_stays_square_and_whole() -> None:
    plan = plan_tiles((40, 300), tile_size=256, overlap=32, stride=8, fixed=True)
    assert (plan.tile_YX, plan.starts_y, plan.starts_x) == ((256, 256), (0,), (0, 48))
    assert plan.padded_YX == (256, 304)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((0, 5), {}),
        ((5, 0), {}),
        ((5, 5), {"tile_size": 100}),
        ((5, 5), {"tile_size": 0}),
        ((5, 5), {"overlap": 250}),
        ((5, 5), {"overlap": -1}),
        ((5, 5), {"stride": 0}),
    ],
)
def test_sizes_that_do_not_fit_together(shape: tuple[int, int], options: dict[str, int]) -> None:
    with pytest.raises(UsageError) as error:
        plan_tiles(shape, **({"tile_size": 256, "overlap": 32, "stride": 16} | options))
    assert "\n" not in str(error.value)


# --- blending -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(plans())
def test_weights_add_up_to_one_and_stay_full_at_the_borders(drawn: tuple[TilePlan, dict]) -> None:
    plan, options = drawn
    for tile, starts in zip(plan.tile_YX, (plan.starts_y, plan.starts_x), strict=True):
        total = np.zeros(starts[-1] + tile)
        lines = _weight_lines(starts, tile)
        for start, line in zip(starts, lines, strict=True):
            assert line.min() >= 0
            total[start : start + tile] += line
        np.testing.assert_allclose(total, 1, atol=1e-6)
        assert lines[0][0] == lines[-1][-1] == 1
        if len(starts) > 1 and options["overlap"] >= 4:
            assert lines[0][-1] == lines[1][0] == 0, "nothing is taken from where a tile lacks context"


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(1, 5), st.booleans(), st.sampled_from(["reflect", "constant"]))
def test_pointwise_networks_give_the_whole_image(
    drawn: tuple[TilePlan, dict], batch_size: int, augment: bool, pad_mode: str
) -> None:
    plan, _ = drawn
    x_CYX = np.random.default_rng(0).normal(size=(2, *plan.shape_YX)).astype(np.float32)

    def run(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
        return {"cellprob": x_BCYX[:, :1] * 2 + 1, "class": np.concatenate([x_BCYX, -x_BCYX], axis=1)}

    maps = run_tiled(x_CYX, run, plan, batch_size=batch_size, augment=augment, pad_mode=pad_mode)
    assert list(maps) == ["cellprob", "class"]
    np.testing.assert_allclose(maps["cellprob"], x_CYX[:1] * 2 + 1, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(maps["class"], np.concatenate([x_CYX, -x_CYX]), rtol=1e-5, atol=1e-5)
    assert all(m.dtype == np.float32 for m in maps.values())


def blur(radius: int):  # type: ignore[no-untyped-def]
    """A network that sees `radius` pixels far and, as real ones, zeros beyond its tile."""

    def run(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
        size = 2 * radius + 1
        padded = np.pad(x_BCYX, ((0, 0), (0, 0), (radius, radius), (radius, radius)))
        rows, cols = x_BCYX.shape[2:]
        mean = (
            sum(padded[:, :, i : i + rows, j : j + cols] for i in range(size) for j in range(size)) / size**2
        )
        return {"cellprob": mean}

    return run


@settings(max_examples=40, deadline=None)
@given(plans(150))
def test_tiled_equals_whole_where_the_overlap_covers_what_the_network_sees(
    drawn: tuple[TilePlan, dict],
) -> None:
    plan, options = drawn
    radius = min(3, int(options["overlap"]) // 4)
    x_CYX = np.random.default_rng(1).normal(size=(1, *plan.shape_YX)).astype(np.float32)
    tiled = run_tiled(x_CYX, blur(radius), plan, batch_size=3)
    whole = run_tiled(x_CYX, blur(radius), one_tile(plan))
    np.testing.assert_allclose(tiled["cellprob"], whole["cellprob"], atol=1e-5)


def test_too_small_an_overlap_would_be_noticed() -> None:
    x_CYX = RNG.normal(size=(1, 128, 128)).astype(np.float32)
    plan = plan_tiles((128, 128), tile_size=64, overlap=8, stride=8)
    tiled, whole = (run_tiled(x_CYX, blur(6), p)["cellprob"] for p in (plan, one_tile(plan)))
    assert np.abs(tiled - whole).max() > 0.01


@pytest.mark.parametrize("shape", [(100, 203), (7, 5), (1, 1), (256, 256)])
@pytest.mark.parametrize("augment", [False, True])
def test_outputs_of_lower_resolution_are_blended_at_their_own(shape: tuple[int, int], augment: bool) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    x_CYX = np.stack([y, x]).astype(np.float32)

    def run(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
        b, c, rows, cols = x_BCYX.shape
        blocks = x_BCYX.reshape(b, c, rows // 8, 8, cols // 8, 8)
        return {"log_diameter": blocks.mean(axis=(3, 5)), "style": x_BCYX.mean(axis=(2, 3)) * 0 + 2}

    plan = plan_tiles(shape, tile_size=64, overlap=16, stride=16)
    maps = run_tiled(x_CYX, run, plan, batch_size=2, augment=augment)
    rows, cols = -(-shape[0] // 8), -(-shape[1] // 8)
    assert maps["log_diameter"].shape == (2, rows, cols)
    expected_y, expected_x = np.arange(shape[0] // 8) * 8 + 3.5, np.arange(shape[1] // 8) * 8 + 3.5
    inner = maps["log_diameter"][:, : shape[0] // 8, : shape[1] // 8]
    np.testing.assert_allclose(inner[0], np.broadcast_to(expected_y[:, None], inner[0].shape), rtol=1e-5)
    np.testing.assert_allclose(inner[1], np.broadcast_to(expected_x, inner[1].shape), rtol=1e-5)
    np.testing.assert_allclose(maps["style"], [2, 2], rtol=1e-6)


# --- augmentation ---------------------------------------------------------------------------------


def uphill(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
    """A network that turns with its image: the gradient, and how steep it is."""
    dy, dx = np.gradient(x_BCYX[:, 0], axis=(1, 2))
    return {"flow": np.stack([dy, dx], axis=1), "cellprob": np.hypot(dy, dx)[:, None]}


@pytest.mark.parametrize(
    ("shape", "fixed"), [((64, 64), False), ((48, 80), False), ((70, 130), False), ((50, 90), True)]
)
def test_augmenting_a_network_that_turns_with_its_image_changes_nothing(
    shape: tuple[int, int], fixed: bool
) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    x_CYX = np.exp(-((y - 20) ** 2 + (x - 33) ** 2) / 300)[None].astype(np.float32)
    plan = plan_tiles(shape, tile_size=64, overlap=16, stride=16, fixed=fixed)
    seen: set[tuple[int, ...]] = set()

    def run(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
        seen.add(x_BCYX.shape[2:])
        return uphill(x_BCYX)

    plain, augmented = (run_tiled(x_CYX, run, plan, batch_size=2, augment=a) for a in (False, True))
    for name in plain:
        np.testing.assert_allclose(augmented[name], plain[name], atol=1e-6)
    assert np.abs(augmented["flow"]).max() > 0.02
    assert seen == {plan.tile_YX, plan.tile_YX[::-1]}


def test_flow_of_a_radial_field_points_to_the_centre() -> None:
    y, x = np.mgrid[:64, :64]
    x_CYX = -np.hypot(y - 31.5, x - 31.5)[None].astype(np.float32)
    plan = plan_tiles((64, 64), tile_size=64, overlap=16, stride=16)
    dy, dx = run_tiled(x_CYX, uphill, plan, augment=True)["flow"]
    towards = (31.5 - y) * dy + (31.5 - x) * dx
    assert (towards[1:-1, 1:-1] > 0).all()


def test_augmenting_averages_over_all_eight() -> None:
    seen = []

    def run(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(x_BCYX[0, 0].copy())
        ones = np.ones((len(x_BCYX), 2, *x_BCYX.shape[2:]), np.float32)
        # the constant vector (1, 1) has no preferred direction left after turning; a scalar map stays
        return {"flow": ones, "class": ones, "cellprob": x_BCYX * 0 + len(seen)}

    x_CYX = RNG.random((1, 16, 16)).astype(np.float32)
    plan = plan_tiles((16, 16), tile_size=16, overlap=0, stride=16)
    maps = run_tiled(x_CYX, run, plan, augment=True)
    assert len({view.tobytes() for view in seen}) == 8
    np.testing.assert_allclose(maps["flow"], 0, atol=1e-6)
    np.testing.assert_allclose(maps["class"], 1)
    np.testing.assert_allclose(maps["cellprob"], 4.5)


# --- running --------------------------------------------------------------------------------------


class Recorder(NoProgress):
    def __init__(self, cancel_after: int = 10**9) -> None:
        self.events: list[int] = []
        self.cancel_after = cancel_after

    def advance(self, count: int = 1) -> None:
        self.events.append(count)

    def check_cancelled(self) -> None:
        if sum(self.events) >= self.cancel_after:
            raise Cancelled("asked to stop")


def test_progress_counts_tiles_and_cancels_between_batches() -> None:
    x_CYX = RNG.random((1, 100, 100)).astype(np.float32)
    plan = plan_tiles((100, 100), tile_size=48, overlap=16, stride=16)
    assert len(plan) == 9
    recorder = Recorder()
    run_tiled(x_CYX, uphill, plan, batch_size=4, progress=recorder)
    assert recorder.events == [4, 4, 1]
    recorder = Recorder(cancel_after=4)
    with pytest.raises(Cancelled):
        run_tiled(x_CYX, uphill, plan, batch_size=4, progress=recorder)
    assert recorder.events == [4]


@pytest.mark.parametrize(("pad_mode", "beyond"), [("reflect", [3, 2, 1, 0, 1, 2]), ("constant", [0] * 6)])
def test_padding(pad_mode: str, beyond: list[int]) -> None:
    x_CYX = np.broadcast_to(np.arange(5, dtype=np.float32), (1, 3, 5)).copy()
    plan = plan_tiles((3, 5), tile_size=11, overlap=0, stride=11, fixed=True)
    tiles = []

    def run(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
        tiles.append(x_BCYX.copy())
        return {"cellprob": x_BCYX}

    run_tiled(x_CYX, run, plan, pad_mode=pad_mode)
    np.testing.assert_array_equal(tiles[0][0, 0, 1], [0, 1, 2, 3, 4, *beyond])


def test_faulty_pixels_where_a_tile_has_no_weight_do_not_spread() -> None:
    plan = plan_tiles((64, 64), tile_size=48, overlap=16, stride=16)

    def run(x_BCYX: np.ndarray) -> dict[str, np.ndarray]:
        out = np.ones_like(x_BCYX)
        if plan.starts_x[1]:
            out[..., -1] = np.nan
        return {"cellprob": out}

    result = run_tiled(np.zeros((1, 64, 64), np.float32), run, plan)["cellprob"]
    assert np.isfinite(result[..., :-1]).all()


@pytest.mark.parametrize(
    "output",
    [
        np.zeros((2, 1, 32, 32), np.float32),
        np.zeros((1, 1, 32), np.float32),
        np.zeros((1, 1, 31, 32), np.float32),
        np.zeros((1, 1, 16, 8), np.float32),
        np.zeros((1, 1, 64, 64), np.float32),
        np.zeros((1, 1, 0, 0), np.float32),
    ],
)
def test_outputs_that_do_not_fit_their_tile(output: np.ndarray) -> None:
    plan = plan_tiles((32, 32), tile_size=32, overlap=0, stride=32)
    with pytest.raises(ModelError, match="'cellprob'"):
        run_tiled(np.zeros((1, 32, 32), np.float32), lambda _: {"cellprob": output}, plan)


def test_flow_needs_two_channels_to_be_turned() -> None:
    plan = plan_tiles((32, 32), tile_size=32, overlap=0, stride=32)
    with pytest.raises(ModelError, match="two channels"):
        run_tiled(np.zeros((1, 32, 32), np.float32), lambda x: {"flow": x}, plan, augment=True)


@pytest.mark.parametrize(
    ("image", "batch_size"),
    [
        (np.zeros((32, 32), np.float32), 1),
        (np.zeros((1, 32, 31), np.float32), 1),
        (np.zeros((1, 32, 32)), 1),
        (np.zeros((1, 32, 32), np.float32), 0),
    ],
)
def test_images_that_do_not_fit_the_plan(image: np.ndarray, batch_size: int) -> None:
    plan = plan_tiles((32, 32), tile_size=32, overlap=0, stride=32)
    with pytest.raises(UsageError):
        run_tiled(image, lambda x: {"cellprob": x}, plan, batch_size=batch_size)
