"""Training: data, augmentation, targets, loss, loop and checkpoints. Needs the ``torch`` extra."""
