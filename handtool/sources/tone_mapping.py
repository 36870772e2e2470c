"""HDR pictures (HLG, PQ) as a BT.709 screen shows them.

Diffuse white of HDR, 203 cd/m2 (ITU-R BT.2408), becomes the white of the screen; brighter lights are rolled off by the
curve of ITU-R BT.2390, 5.4.1, applied to the brightest channel, so that hues stay. HLG is displayed as on a screen of
1,000 cd/m2 (ITU-R BT.2100). The screen's gamma is 2.4 (ITU-R BT.1886).
"""

from functools import cache

import cv2
import numpy as np

PQ, HLG = 16, 18  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
NAMES = {PQ: "PQ", HLG: "HLG"}
WHITE, PEAK = 203.0, 1000.0  # cd/m2
GAMMA = 2.4
LEVELS = 4096  # of the tables
LUMINANCE_2020 = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
# ITU-R BT.2087, table 4 inverted: BT.2020 to BT.709, linear
TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)


def tone_map(image: np.ndarray, transfer: int) -> np.ndarray:
    """image: (h, w, 3) uint16 RGB of full range, BT.2020, coded by `transfer` (PQ or HLG). Returns (h, w, 3) uint8 RGB
    for BT.709."""
    light = np.take(to_light(transfer), image >> 4)
    brightest = cv2.max(cv2.max(light[..., 0], light[..., 1]), light[..., 2])
    if transfer == HLG:  # the system gamma of 1.2 (ITU-R BT.2100, table 5)
        gamma = np.power(cv2.transform(light, LUMINANCE_2020), np.float32(0.2))
        brightest *= gamma
    gain = np.take(gains(), by_root(np.minimum(brightest, 1)))
    screen = cv2.transform(light * (gain * gamma if transfer == HLG else gain)[..., None], TO_709)
    return np.take(to_code(), by_root(np.clip(screen, 0, 1, out=screen)))


def by_root(light: np.ndarray) -> np.ndarray:
    """light: float32, 0..1. Returns its place in a table by the root of the light."""
    root: np.ndarray = cv2.sqrt(light)
    root *= LEVELS - 1
    root += 0.5
    return root.astype(np.uint16)


def pq_to_light(code: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084. code: 0..1. Returns cd/m2."""
    root = np.power(code, 1 / 78.84375)
    return 10000 * np.power(np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root), 1 / 0.1593017578125)


def light_to_pq(light: np.ndarray) -> np.ndarray:
    """The inverse. light: cd/m2."""
    power = np.power(light / 10000, 0.1593017578125)
    return np.power((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power), 78.84375)


def hlg_to_light(code: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100, inverse OETF. code: 0..1. Returns the light of the scene, 0..1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def roll_off(light: np.ndarray) -> np.ndarray:
    """The curve of BT.2390 from PEAK to WHITE. light, returned: cd/m2."""
    top, white = light_to_pq(np.array(PEAK)), light_to_pq(np.array(WHITE)) / light_to_pq(np.array(PEAK))
    code = light_to_pq(light) / top
    knee = 1.5 * white - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return pq_to_light(np.where(code < knee, code, bent) * top)


@cache
def to_light(transfer: int) -> np.ndarray:
    """(LEVELS,) float32: the light of each code, 1 = PEAK; of HLG, that of the scene."""
    code = np.arange(LEVELS) / (LEVELS - 1)
    return (hlg_to_light(code) if transfer == HLG else np.minimum(pq_to_light(code) / PEAK, 1)).astype(np.float32)


@cache
def gains() -> np.ndarray:
    """(LEVELS,) float32, by the root of the light, 1 = PEAK: what it is multiplied with, so that 1 = the white of the
    screen."""
    light = PEAK * (np.maximum(np.arange(LEVELS), 0.5) / (LEVELS - 1)) ** 2
    return (roll_off(light) / light * PEAK / WHITE).astype(np.float32)


@cache
def to_code() -> np.ndarray:
    """(LEVELS,) uint8, by the root of the light, 1 = the white of the screen."""
    return np.round(255 * (np.arange(LEVELS) / (LEVELS - 1)) ** (2 / GAMMA)).astype(np.uint8)
