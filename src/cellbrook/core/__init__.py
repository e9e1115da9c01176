"""Domain objects shared by every room: parameters, axes, object tables, results, progress. Needs NumPy only."""
