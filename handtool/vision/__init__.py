"""Hand detectors and keypoint estimators of others behind two small contracts, and the cropping between them."""
