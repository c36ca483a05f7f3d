"""Finding the pectoral muscle of an oblique (MLO) view: a line first, then the gently curved edge along it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

_LOG_FLOOR = 0.02  # brightness that the logarithm takes for nothing
_BLUR = 0.006  # all lengths are shares of the breast's height: strands finer than this do not count
_REACH = 0.02  # the two sides of the edge are compared so far from it
_STEP_CAP = 0.5  # a step of the logarithm counts up to this, so that one bright strand cannot carry a line
_TOPS = np.linspace(0.10, 0.80, 36)  # where the line meets the top, as a share of the breast's height
_FEET = np.linspace(0.22, 1.0, 40)  # and the chest wall
_MIN_STEP = 0.12  # mean step of the logarithm across a line that is believed
_MIN_SHARE = 0.75  # of its points that step up towards the muscle
_BAND = 0.06  # the curved edge stays so close to the line
_BEND = 0.06  # price of moving the edge by one step, in steps of the logarithm
_POINTS = 96


def muscle_edge(breast: FloatImage, mask: Mask) -> Points | None:
    """The edge of the muscle in an oblique view, or None where none is found with confidence.

    `breast` (h, w) in [0, 1] is cut to the breast, chest wall at the left edge; `mask` (h, w) says what is breast.

    Returns:
        Points (n, 2) as (x, y) in pixels of `breast`, from beyond its top to beyond the chest wall.
    """
    height = breast.shape[0]
    logs: FloatImage = np.log(np.maximum(breast, 0) + np.float32(_LOG_FLOOR))
    inside = mask.astype(np.float32)  # the black beside the skin must not blur into the breast
    blur = max(0.7, _BLUR * height)
    weight: FloatImage = np.maximum(ndimage.gaussian_filter(inside, blur), np.float32(1e-6))
    logs = np.asarray(ndimage.gaussian_filter(logs * inside, blur), dtype=np.float32) / weight
    line = _best_line(logs, mask, height)
    return None if line is None else _curved(logs, mask, *line, height)


def in_muscle(edge: Points, x: Points, y: Points) -> Mask:
    """Whether the points of the grid with columns `x` (w,) and rows `y` (h,) lie on the corner's side of `edge`."""
    order = np.argsort(edge[:, 1], kind="stable")
    limit = np.interp(y, edge[order, 1], edge[order, 0], right=-np.inf)
    return np.asarray(x[None, :] < limit[:, None])


def _best_line(logs: FloatImage, mask: Mask, height: int) -> tuple[Points, Points] | None:
    """Ends (x, y) of the line with the strongest even step, at the top and at the chest wall."""
    tops, feet = (axis.ravel() * height for axis in np.meshgrid(_TOPS, _FEET))
    t = np.linspace(0.04, 0.96, 48)
    x, y = tops[:, None] * (1 - t), feet[:, None] * t  # (lines, points)
    out_x, out_y = ((ends / np.hypot(tops, feet))[:, None] for ends in (feet, tops))
    steps = _steps(logs, mask, x, y, out_x, out_y, _REACH * height)
    steps[(x < _REACH * height * out_x) | (y < _REACH * height * out_y)] = 0  # nothing to see beyond the border
    score = np.clip(steps, -_STEP_CAP, _STEP_CAP).mean(axis=1)
    share = (steps > 0.02).mean(axis=1)
    best = int(np.argmax(score * share))
    if score[best] < _MIN_STEP or share[best] < _MIN_SHARE:
        return None
    return np.array([tops[best], 0.0]), np.array([0.0, feet[best]])


def _curved(logs: FloatImage, mask: Mask, top: Points, foot: Points, height: int) -> Points:
    """The path of the strongest steps that stays near the line from `top` to `foot`: dynamic programming."""
    along = foot - top
    normal = np.array([-along[1], along[0]]) / np.hypot(*along)  # towards the corner
    t = np.linspace(-0.1, 1.1, _POINTS)
    offsets = np.linspace(-_BAND, _BAND, 33) * height
    places = top + t[:, None, None] * along - offsets[:, None] * normal  # (points, offsets, 2)
    steps = _steps(logs, mask, places[..., 0], places[..., 1], -normal[0], -normal[1], _REACH * height)
    steps = np.where((places >= 0).all(axis=-1), np.clip(steps, -_STEP_CAP, _STEP_CAP), 0)

    total = steps[0]
    came_from = np.zeros(steps.shape, dtype=np.intp)
    for k in range(1, _POINTS):
        padded = np.pad(total, 1, constant_values=-np.inf)
        options = np.stack([padded[:-2] - _BEND, padded[1:-1], padded[2:] - _BEND])
        came_from[k] = options.argmax(axis=0) - 1
        total = options.max(axis=0) + steps[k]
    path = np.empty(_POINTS, dtype=np.intp)
    path[-1] = int(total.argmax())
    for k in range(_POINTS - 1, 0, -1):
        path[k - 1] = path[k] + came_from[k, path[k]]
    offset = ndimage.gaussian_filter1d(offsets[path], 3, mode="nearest")
    edge: Points = top + t[:, None] * along - offset[:, None] * normal
    return edge


def _steps(logs: FloatImage, mask: Mask, x: Points, y: Points, out_x: Points, out_y: Points, reach: float) -> Points:
    """How much brighter it is inside than outside of the edge at (x, y), whose outer normal is (out_x, out_y).

    Where either side lies outside the breast there is no step; the picture goes on beyond its border as it ends.
    """
    inner, seen_in = _at(logs, mask, x - reach * out_x, y - reach * out_y)
    outer, seen_out = _at(logs, mask, x + reach * out_x, y + reach * out_y)
    steps: Points = np.where(seen_in & seen_out, inner - outer, 0)
    return steps


def _at(logs: FloatImage, mask: Mask, x: Points, y: Points) -> tuple[Points, Mask]:
    column = np.clip(np.floor(x).astype(np.intp), 0, logs.shape[1] - 1)
    row = np.clip(np.floor(y).astype(np.intp), 0, logs.shape[0] - 1)
    return logs[row, column].astype(np.float64), mask[row, column]
