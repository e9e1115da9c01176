"""Contracts of the seams, as test classes: subclass one in a test module and give it what it asks for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cellbrook.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellbrook.engines.base import Engine
    from cellbrook.networks.base import NetworkSpec


class EngineContract:
    """What every engine keeps to, whatever library it runs on.

    A subclass provides `make_engine` and `spec`, and may provide `expected` (outputs of the same network by
    other means) and `tolerance`.
    """

    tolerance: float = 1e-4
    """Largest difference to `expected`; 1e-4 for fp32."""

    def make_engine(self, threads: int = 1) -> Engine:
        """Return a fresh engine."""
        raise NotImplementedError

    @property
    def spec(self) -> NetworkSpec:
        """What the engine's network takes and gives."""
        raise NotImplementedError

    def expected(self, x_BCYX: NDArray[np.float32]) -> dict[str, NDArray[np.float32]] | None:
        """Return what the network gives, found by other means; None if there are none."""
        return None

    def batch(self, count: int = 1, rows: int = 0, columns: int = 0, seed: int = 0) -> NDArray[np.float32]:
        """Return `count` random tiles of these sides, both the smallest that the network takes if 0."""
        least = self.spec.tile_size if self.spec.fixed_tile else 2 * self.spec.stride
        shape = (count, self.spec.planes, rows or least, columns or least)
        return np.random.default_rng(seed).random(shape, dtype=np.float32)

    @pytest.fixture
    def engine(self) -> Engine:
        """Return an engine of one thread."""
        return self.make_engine()

    def test_outputs_have_the_names_shapes_and_type_of_the_protocol(self, engine: Engine) -> None:
        """Every output that the spec names is there, as float32."""
        x_BCYX = self.batch(2)
        outputs = engine.run(x_BCYX)
        assert set(outputs) >= set(self.spec.outputs)
        b, _, y, x = x_BCYX.shape
        assert outputs["flow"].shape == (b, 2, y, x)
        assert outputs["cellprob"].shape == (b, 1, y, x)
        for name, array in outputs.items():
            assert array.dtype == np.float32, name
            assert np.isfinite(array).all(), name

    def test_outputs_are_those_of_the_network(self, engine: Engine) -> None:
        """All engines agree."""
        x_BCYX = self.batch(2, seed=1)
        expected = self.expected(x_BCYX)
        if expected is None:
            pytest.skip("this subclass has no other means")
        outputs = engine.run(x_BCYX)
        for name, array in expected.items():
            np.testing.assert_allclose(outputs[name], array, rtol=0, atol=self.tolerance, err_msg=name)

    def test_a_batch_gives_what_its_tiles_give_alone(self, engine: Engine) -> None:
        """Batch size is free, and no tile sees another."""
        x_BCYX = self.batch(3, seed=2)
        together = engine.run(x_BCYX)
        for i in range(3):
            alone = engine.run(x_BCYX[i : i + 1])
            for name, array in alone.items():
                np.testing.assert_allclose(
                    together[name][i], array[0], rtol=0, atol=self.tolerance, err_msg=name
                )

    def test_tile_sides_are_free(self, engine: Engine) -> None:
        """One engine takes tiles of any multiple of the stride, one size after the other."""
        if self.spec.fixed_tile:
            pytest.skip("this network has one tile size")
        for rows, columns in ((4, 2), (2, 3), (2, 2)):
            x_BCYX = self.batch(1, rows * self.spec.stride, columns * self.spec.stride)
            assert engine.run(x_BCYX)["flow"].shape[2:] == x_BCYX.shape[2:]

    def test_any_strides_are_taken(self, engine: Engine) -> None:
        """Views give what their contiguous copies give."""
        x_BCYX = self.batch(2, seed=3)
        view = np.flip(np.flip(x_BCYX, axis=3).copy(), axis=3)
        assert not view.flags.c_contiguous
        np.testing.assert_array_equal(engine.run(view)["flow"], engine.run(x_BCYX)["flow"])

    def test_outputs_stay_when_the_engine_runs_again(self, engine: Engine) -> None:
        """The caller owns what it got, and the input is left as it was."""
        x_BCYX = self.batch(1, seed=4)
        before = x_BCYX.copy()
        outputs = engine.run(x_BCYX)
        kept = {name: array.copy() for name, array in outputs.items()}
        engine.run(self.batch(1, seed=5))
        for name, array in kept.items():
            np.testing.assert_array_equal(outputs[name], array, err_msg=name)
        np.testing.assert_array_equal(x_BCYX, before)

    def test_runs_are_repeatable(self, engine: Engine) -> None:
        """The same tile gives the same bits, now and from a second engine."""
        x_BCYX = self.batch(1, seed=6)
        first = engine.run(x_BCYX)
        for again in (engine.run(x_BCYX), self.make_engine().run(x_BCYX)):
            for name, array in first.items():
                np.testing.assert_array_equal(again[name], array, err_msg=name)

    def test_what_does_not_fit_is_refused_in_one_line(self, engine: Engine) -> None:
        """Channels, sides, dtype and dimensions are checked before the library sees them."""
        good = self.batch(1)
        wrong = [
            np.repeat(good, 2, axis=1),
            good[0],
            good[:0],
            good.astype(np.float64),
            self.batch(1, columns=2 * self.spec.stride + 1),
        ]
        for x_BCYX in wrong:
            with pytest.raises(EngineError) as caught:
                engine.run(x_BCYX)
            assert "\n" not in str(caught.value)
        engine.run(good)  # and the engine is none the worse for it

    def test_info_is_complete(self, engine: Engine) -> None:
        """What goes into run.json is there."""
        info = engine.info
        assert info.engine
        assert info.version
        assert info.precision in ("fp32", "bf16", "int8")
        assert info.device.split(":")[0] in ("cpu", "cuda", "mps")
        assert info.threads == 1
        assert "\n" not in info.why

    def test_one_thread_means_one(self) -> None:
        """Processor time does not exceed wall time by more than a tenth."""
        engine = self.make_engine(threads=1)
        x_BCYX = self.batch(4)
        engine.run(x_BCYX)
        cpu, wall = time.process_time(), time.perf_counter()
        while time.perf_counter() - wall < 0.3:
            engine.run(x_BCYX)
        assert time.process_time() - cpu <= 1.1 * (time.perf_counter() - wall)
