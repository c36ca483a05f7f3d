"""What a copy may have gone through before it is found: functions of a tile (S, S), and sets of tiles altered so."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Tiles = NDArray[np.uint8]


def noisy(tile: Tiles) -> np.ndarray:
    """Noise of 3 of 255 grey levels."""
    return tile + np.random.default_rng(int(tile.sum())).normal(0, 3, tile.shape)


def shifted(tile: Tiles) -> np.ndarray:
    """6 % of the side down, 2 % to the left."""
    return ndimage.shift(tile.astype(np.float32), (0.06 * len(tile), -0.02 * len(tile)), order=1)


def jpeg(tile: Tiles) -> np.ndarray:
    """JPEG of quality 60."""
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


def blurred(tile: Tiles) -> np.ndarray:
    """Gaussian of 1.6 % of the side."""
    return ndimage.gaussian_filter(tile.astype(np.float32), len(tile) / 64)


def bent(tile: Tiles) -> np.ndarray:
    """Each pixel moved smoothly by about 1 % of the side."""
    rng = np.random.default_rng(int(tile.sum()))
    moves = [ndimage.gaussian_filter(rng.normal(size=tile.shape), len(tile) / 8) for _ in range(2)]
    grid = np.indices(tile.shape) + [0.01 * len(tile) * move / move.std() for move in moves]
    return ndimage.map_coordinates(tile.astype(np.float32), grid, order=1, mode="nearest")


def cropped(tile: Tiles) -> np.ndarray:
    """90 % of the side, enlarged to the whole."""
    side = len(tile)
    return np.asarray(Image.fromarray(tile[: round(0.9 * side), : round(0.9 * side)]).resize((side, side)))


ALTERED = {
    "exact": lambda tile: tile,
    "noisy": noisy,
    "shifted": shifted,
    "mirrored": lambda tile: tile[:, ::-1],
    "upside down": lambda tile: tile[::-1],
    "turned by half": lambda tile: tile[::-1, ::-1],
    "paler": lambda tile: 0.8 * tile + 10,
    "recompressed": jpeg,
    "blurred": blurred,
    "bent": bent,
    "cropped": cropped,
}


def altered(kind: str, tiles: Tiles) -> Tiles:
    """Tiles (N, S, S), each altered by `ALTERED[kind]`."""
    return np.stack([np.clip(np.rint(ALTERED[kind](tile)), 0, 255).astype(np.uint8) for tile in tiles])


def mixture(tiles: Tiles) -> Tiles:
    """Tiles (N, S, S), the first altered in the first way, the second in the second, and so on round."""
    kinds = list(ALTERED)
    return np.stack([altered(kinds[k % len(kinds)], tile[None])[0] for k, tile in enumerate(tiles)])
