"""Where frames come from: videos, folders of images and labelled sets, each an iterator of frames with what is known of
them."""
