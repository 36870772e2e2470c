"""What is done to a picture: views, augmentation, geometry, and undoing a view."""
