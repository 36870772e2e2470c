"""Foreign hand detectors and keypoint estimators behind two interfaces, and the cropping between them."""
