"""handtool: from video to a 3D hand-pose model, in composable steps that read and write HDF5."""

__version__ = "0.2.0"
