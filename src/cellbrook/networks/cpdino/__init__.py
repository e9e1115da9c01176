"""The network of Cellpose 4.2's cpdino models: a DINOv3 vision transformer with a readout to pixels."""
