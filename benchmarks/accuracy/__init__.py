"""Accuracy on labelled image sets: any model of Cellbrook, and a classical baseline."""
