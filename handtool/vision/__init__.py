"""Someone else's eyes: hand detectors and keypoint estimators behind two small contracts, and the cropping between them."""
