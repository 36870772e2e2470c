"""The image is the hand: no detector."""

import numpy as np

from handtool.hands.boxes import whole_image
from handtool.vision.contracts import Detection


class WholeImage:
    def find_hands(self, image: np.ndarray, name: str) -> list[Detection]:
        height, width = image.shape[:2]
        return [Detection(whole_image(width, height), whole=True)]
