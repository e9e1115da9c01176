"""Cellbrook: an image in, one labelled region a cell out."""
