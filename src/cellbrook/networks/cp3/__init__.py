"""The residual U-Net of Cellpose 1 to 3: official checkpoints such as cyto3 and nuclei."""
