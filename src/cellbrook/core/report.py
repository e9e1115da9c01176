"""What happened while an image was segmented."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Report:
    """What happened on the way, for ``run.json``.

    Parameters
    ----------
    timings_s : dict of str to float
        Seconds by step, summed over planes.
    planes : list of dict
        For each plane: its index, the scale the network saw, the estimated diameter, tiles run, objects
        found.
    notes : list of str
        What a user should know.
    classes : tuple of str
        The classes that the model tells, in its order, if it tells any: an image rarely shows all of them.
    tracks : int or None
        Tracks that the objects of all frames belong to, where they were followed.
    """

    timings_s: dict[str, float] = field(default_factory=dict)
    planes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    tracks: int | None = None

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of the block to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timings_s[step] = self.timings_s.get(step, 0.0) + time.perf_counter() - started
