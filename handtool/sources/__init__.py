"""Sources of frames: videos, folders of images and labelled sets, each an iterator of frames with their known hands."""
