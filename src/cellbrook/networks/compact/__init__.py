"""The shipped network: small, fully convolutional, fast on a laptop's processor."""
