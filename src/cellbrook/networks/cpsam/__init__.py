"""The network of Cellpose-SAM: the ViT image encoder of Segment Anything with a readout to pixels."""
