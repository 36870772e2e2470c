"""Transformations of pictures: views, augmentation, geometry, and undoing a view."""
