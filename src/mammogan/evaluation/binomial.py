"""Exact statements on counts: the interval of a share, and the chance of so many exceedances."""

from scipy import stats


def exact_interval(successes: float, trials: float) -> tuple[float, float]:
    """The 95 % interval of a share, `successes` of `trials`: Clopper and Pearson 1934 (Biometrika 26, 404).

    Neither needs to be whole: a share of images may stand for fewer independent patients.
    """
    low = stats.beta.ppf(0.025, successes, trials - successes + 1) if successes > 0 else 0.0
    high = stats.beta.ppf(0.975, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


def chance_of_exceeding(count: int, n: int, above: int, calibration: int) -> float:
    """Probability that at least `count` of `n` new values exceed a threshold, where all values are of one kind.

    The threshold is one of the `calibration` values, of which `above` lie over it. The number of new values over it is
    beta-binomial, whatever the distribution of the values (David and Nagaraja 2003, Order Statistics, sec. 7.2), so the
    chance that lies in the threshold itself is counted.
    """
    return float(stats.betabinom.sf(count - 1, n, above + 1, calibration - above))
