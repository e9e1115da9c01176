"""The size model of Cellpose 1 to 3: the objects' diameter from the network's style.

Its files are pickled dicts in a ``.npy``. They are read by an unpickler that knows arrays and numbers and
refuses every other name, so a file that would run code is an error.
"""

from __future__ import annotations

import collections
import importlib
import math
import pickle
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from cellbrook.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MIN_DIAMETER_PX = 5.0


@dataclass(frozen=True, slots=True)
class SizeModel:
    """Tells the diameter of the objects in an image from its style.

    Parameters
    ----------
    weights : ndarray of shape (S,), float64
        Slope for each component of the style.
    style_mean : ndarray of shape (S,), float64
        Mean style of the training images.
    log_mean : float
        Mean of the logarithm of the diameter over `diam_mean` in the training images.
    diam_mean : float
        Diameter in pixels to which the network's training images were rescaled.
    """

    weights: NDArray[np.float64]
    style_mean: NDArray[np.float64]
    log_mean: float
    diam_mean: float

    @classmethod
    def load(cls, path: Path) -> SizeModel:
        """Read a ``size_NAME.npy`` or ``NAME_size.npy`` of Cellpose, without running code.

        Raises
        ------
        ModelError
            If it is damaged, or holds anything but the arrays and numbers of a size model.
        """
        found = _read_pickled_dict(path)
        try:
            weights = np.asarray(found["A"], np.float64).ravel()
            style_mean = np.asarray(found["smean"], np.float64).ravel()
            log_mean, diam_mean = float(found["ymean"]), float(found["diam_mean"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path}: no size model: A, smean, ymean or diam_mean is missing or odd"
            ) from error
        numbers = np.concatenate([weights, style_mean, [log_mean, diam_mean]])
        if weights.shape != style_mean.shape or not np.isfinite(numbers).all() or diam_mean <= 0:
            raise ModelError(f"{path}: expected a size model of finite numbers, A as long as smean: damaged")
        return cls(weights, style_mean, log_mean, diam_mean)

    def diameter_px(self, style: NDArray[np.floating]) -> float:
        """Return the typical diameter of the objects in an image, in pixels of the network's input.

        Parameters
        ----------
        style : ndarray of shape (S,) or (tiles, S), float
            The network's style; those of several tiles are added and brought back to length 1.

        Returns
        -------
        float
            At least 5; `diam_mean` if the style is not finite.
        """
        total = np.atleast_2d(np.asarray(style, np.float64)).sum(axis=0)
        length = float(np.linalg.norm(total))
        if not math.isfinite(length) or length == 0:
            return self.diam_mean
        log_ratio = float(self.weights @ (total / length - self.style_mean)) + self.log_mean
        return max(MIN_DIAMETER_PX, self.diam_mean * math.exp(min(log_ratio, 20.0)))


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ModelError(f"a size model's bytes are written as latin1, got {encoding!r}: it is refused")
    return text.encode("latin1")


_ARRAY_MAKERS = (
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
)


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        current = module.replace("numpy.core.", "numpy._core.")  # where they were before NumPy 2
        if (current, name) in _ARRAY_MAKERS:
            return getattr(importlib.import_module(current), name)
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise ModelError(
            f"{self._path} is refused: expected arrays and numbers, it asks to run {module}.{name}"
        )


def _read_pickled_dict(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            major, _ = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if shape != () or not dtype.hasobject:
                raise ModelError(
                    f"{path}: expected a size model (a pickled dict), got an array of {dtype} {shape}"
                )
            found = _ArrayUnpickler(file, path).load()
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"size model {path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a broken pickle raises nearly anything
        raise ModelError(
            f"size model {path} is damaged ({type(error).__name__}): copy or install it again"
        ) from error
    found = found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    if not isinstance(found, dict):
        raise ModelError(f"{path}: expected a size model (a pickled dict), got {type(found).__name__}")
    return found
