"""What an unfinished training leaves on disk is whole and belongs together, wherever it died."""

import contextlib
import errno
import os

import pytest

torch = pytest.importorskip("torch")


from cellbrook.errors import OutputError, UsageError  # noqa: E402
from cellbrook.io import lock  # noqa: E402
from cellbrook.networks.compact.model import CompactNet  # noqa: E402
from cellbrook.training import state as module  # noqa: E402
from cellbrook.training.loop import LoopParams, Trainer  # noqa: E402
from cellbrook.training.loss import LossParams  # noqa: E402
from cellbrook.training.report import CurvePoint  # noqa: E402
from cellbrook.training.settings import Settings  # noqa: E402
from cellbrook.training.state import State, held, read_state, restore, save_state  # noqa: E402

SETTINGS = Settings(9, 2, 64, 1e-3, 0.9, 3, 0.25, False, "cpu", 1, 0, 1, 1)


class Killed(BaseException):
    """Nothing after it runs."""


def trainer_at(step):
    trainer = Trainer(CompactNet((8, 8, 8, 16, 16)), LoopParams(bf16=False), LossParams())
    trainer.step = step
    with torch.no_grad():
        for parameter in (*trainer.network.parameters(), *trainer.averaged.parameters()):
            parameter.fill_(step)
    return trainer


def state_at(step, best):
    curve = tuple(CurvePoint(s, 1.0, 1.0, 0.1) for s in range(step + 1))
    return State("key", curve, best, 2.5)


@pytest.mark.parametrize("dies_in", [0, 1, 2])
@pytest.mark.parametrize("best", [1, 2])
def test_a_crash_while_saving_leaves_the_old_or_the_new_state(dies_in, best, tmp_path, monkeypatch):
    save_state(tmp_path, state_at(1, 1), trainer_at(1), SETTINGS)
    plain, calls = torch.save, []

    def dying(content, path):
        if len(calls) == dies_in:
            path.write_bytes(b"half of it")
            raise Killed
        calls.append(path)
        plain(content, path)

    monkeypatch.setattr(module.torch, "save", dying)
    with contextlib.suppress(Killed):
        save_state(tmp_path, state_at(2, best), trainer_at(2), SETTINGS)
    stored = read_state(tmp_path, "key")
    trainer = trainer_at(0)
    state = restore(stored, trainer)
    assert trainer.step in (1, 2)
    assert state.curve[-1].step == trainer.step
    assert float(trainer.network.pixels.bias[0].detach()) == trainer.step
    assert Settings(**stored["settings"]) == SETTINGS
    weights = torch.load(tmp_path / state.best_name, weights_only=True)
    assert float(weights["pixels.bias"][0]) == state.best_step


def test_a_state_of_other_data_is_refused_or_replaced_but_its_own_is_gone_on_with(tmp_path):
    save_state(tmp_path, state_at(1, 1), trainer_at(1), SETTINGS)
    assert read_state(tmp_path, "key", overwrite=True)["step"] == 1
    with pytest.raises(UsageError, match=r"folder \(--out\), or --overwrite \(in Python overwrite=True\)"):
        read_state(tmp_path, "other")
    assert read_state(tmp_path, "other", overwrite=True) is None
    assert read_state(tmp_path, "key") is None


def test_a_folder_has_one_training_at_a_time(tmp_path):
    folder = tmp_path / "deep" / "m"
    with (
        held(folder),
        pytest.raises(OutputError, match=rf"m: another training writes there \(.*process {os.getpid()} on"),
        held(folder),
    ):
        pass
    with held(folder):
        pass
    with pytest.raises(OutputError, match="cannot be written to"), held(folder / ".lock"):
        pass


def test_where_no_locks_are_known_training_goes_on_without(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "FileLock", lambda path: raise_(OSError(errno.ENOLCK, "No locks available")))
    with held(tmp_path / "m"):
        assert (tmp_path / "m").is_dir()


def raise_(error):
    raise error


def test_older_bests_are_removed(tmp_path):
    for step in (1, 2, 3):
        save_state(tmp_path, state_at(step, step), trainer_at(step), SETTINGS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-3.pt", "last.pt"]


@pytest.mark.parametrize(
    ("ap", "loss", "expected"),
    [(0.2, 9.0, 2), (0.1, 0.9, 2), (0.1, 1.1, 1), (0.05, 0.1, 1)],
)
def test_the_best_has_the_highest_ap_and_of_equals_the_lowest_loss(ap, loss, expected):
    assert state_at(1, 1).after(CurvePoint(2, 1.0, loss, ap), 3.0).best_step == expected
