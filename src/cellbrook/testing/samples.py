"""Generated sample images: ``python -m cellbrook.testing.samples FOLDER`` writes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = {"generated_nuclei": ("fluo_nuclei", 3, 24.0), "generated_bacteria": ("phase_bacteria", 3, 20.0)}
"""Name -> family, seed and diameter for `cellbrook.training.synthetic.generate`."""


def sample_image(name: str = "generated_nuclei", size: int = 256) -> NDArray[Any]:
    """Return a generated image of shape (Y, X), float32, in camera units."""
    from cellbrook.training.synthetic import generate

    family, seed, diameter = SAMPLES[name]
    image = generate(family, seed, size, diameter).image
    return image[0] if len(image) == 1 else image


def main(folder: Path) -> None:
    """Write every sample as a TIFF file."""
    import tifffile

    folder.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        image = sample_image(name, 512)
        tifffile.imwrite(
            folder / f"{name}.tif",
            image.astype(np.uint16),
            metadata={"axes": "YX" if image.ndim == 2 else "CYX"},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
