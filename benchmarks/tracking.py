"""How well objects are followed through time: simulated films with a known truth, by speed of the cells.

``python -m benchmarks.tracking``: discs that wander, divide, leave and are missed by the segmentation in some frames;
against linking by overlap alone. F1 of the links between frames that are right, and of the divisions that are found.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from benchmarks.accuracy.volumes import linked

from cellbrook.measure import measure
from cellbrook.tracking import link

FRAMES, SIDE, DIAMETER = 20, 400, 16


@dataclass
class Film:
    """Labels of frames with the cell behind each, and whose daughter it is."""

    labels: np.ndarray
    cell_of: dict[int, int]
    mother_of: dict[int, int]


def simulate(seed: int, speed: float, drift: float = 0.0, missed: float = 0.02, cells: int = 70) -> Film:
    """Draw a film; `speed` and `drift` in diameters a frame."""
    rng = np.random.default_rng(seed)
    place = list(rng.uniform(20, SIDE - 20, (cells, 2)))
    radius = list(DIAMETER / 2 * np.exp(rng.normal(0, 0.1, cells)))
    name = list(range(cells))
    mother_of: dict[int, int] = {}
    cell_of: dict[int, int] = {}
    labels = np.zeros((FRAMES, SIDE, SIDE), np.uint32)
    y, x = np.ogrid[:SIDE, :SIDE]
    direction = rng.uniform(0, 2 * np.pi)
    shift = drift * DIAMETER * np.array([np.sin(direction), np.cos(direction)])
    count = 0
    next_name = cells
    for t in range(FRAMES):
        for k in range(len(place)):
            cy, cx = place[k]
            inside = (y - cy) ** 2 + (x - cx) ** 2 < radius[k] ** 2
            inside &= labels[t] == 0
            if rng.random() < missed or inside.sum() < 30:
                continue
            count += 1
            labels[t][inside] = count
            cell_of[count] = name[k]
        for k in range(len(place)):
            place[k] = place[k] + shift + rng.normal(0, speed * DIAMETER / np.sqrt(2), 2)
            if rng.random() < 0.01:  # it divides
                turn = rng.uniform(0, np.pi)
                step = 0.5 * DIAMETER * np.array([np.sin(turn), np.cos(turn)])
                place.append(place[k] + step)
                place[k] = place[k] - step
                radius.append(0.85 * radius[k])
                radius[k] *= 0.85
                mother_of[next_name], mother_of[next_name + 1] = name[k], name[k]
                name[k] = next_name
                name.append(next_name + 1)
                next_name += 2
        # cells keep apart, as they do in a dish
        points = np.array(place)
        for _ in range(5):
            step = points[:, None] - points[None]
            far = np.linalg.norm(step, axis=2) + 1e-9
            push = np.clip(DIAMETER * 1.02 - far, 0, None) * (far < DIAMETER * 1.02)
            np.fill_diagonal(push, 0)
            points += (step / far[..., None] * push[..., None] / 2).sum(axis=1)
        place = list(points)
    return Film(labels, cell_of, mother_of)


def scores(film: Film, track: np.ndarray, parent: np.ndarray, label: np.ndarray, time: np.ndarray) -> tuple:
    """Return F1 of links, F1 of divisions, and how many of these there are."""
    cell = np.array([film.cell_of[int(i)] for i in label])

    def edges(names: np.ndarray) -> set[tuple[int, int]]:
        found = set()
        for name in np.unique(names):
            rows = np.flatnonzero(names == name)
            found |= set(zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True))
        return found

    true, ours = edges(cell), edges(track)
    links = 2 * len(true & ours) / max(1, len(true) + len(ours))
    first = {int(c): int(np.flatnonzero(cell == c)[0]) for c in np.unique(cell)}
    births = {first[c] for c in film.mother_of if c in first and time[first[c]] > 0}
    begun = {int(np.flatnonzero(track == k)[0]) for k in np.unique(track) if parent[track == k][0] > 0}
    divisions = 2 * len(births & begun) / max(1, len(births) + len(begun))
    return links, divisions, len(births) // 2


def by_overlap(film: Film, label: np.ndarray) -> np.ndarray:
    """Return the tracks of objects that overlap from frame to frame, the best pairs first."""
    track = np.zeros(int(film.labels.max()) + 1, np.int64)
    track[film.labels] = linked(film.labels)
    return track[label]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=5)
    args = parser.parse_args()
    print(f"{'diameters a frame':<28}{'links':>8}{'by overlap':>12}{'divisions':>12}{'of':>5}")
    for speed, drift in ((0.1, 0), (0.25, 0), (0.5, 0), (0.8, 0), (0.1, 0.5), (0.1, 1.5), (0.25, 1.5)):
        rows = []
        for seed in range(args.films):
            film = simulate(seed, speed, drift)
            table = measure(film.labels, axes="TYX")
            links = link(table, film.labels)
            ours = scores(film, links.track, links.parent, table["label"], table["t"])
            plain = by_overlap(film, table["label"])
            theirs = scores(film, plain, np.zeros_like(plain), table["label"], table["t"])
            rows.append((ours[0], theirs[0], ours[1], ours[2]))
        links_f1, overlap_f1, division_f1, births = np.mean(rows, axis=0)
        words = f"{speed:g}" + (f", drift {drift:g}" if drift else "")
        print(f"{words:<28}{links_f1:>8.3f}{overlap_f1:>12.3f}{division_f1:>12.3f}{births:>5.0f}")


if __name__ == "__main__":
    main()
