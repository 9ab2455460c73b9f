# SPDX-License-Identifier: MIT
"""Ratios of interleaved runs and their 95 % confidence intervals.

The runs of a turn follow each other within seconds, so the machine's slow minutes fall on a
contender and on what it is compared with alike and cancel in the ratio of that turn. The estimate
is the geometric mean of the turns' ratios. Its interval is Student's t over their logarithms: with
as few turns as are usual, a bootstrap would promise far too much.
"""
import math

# Two-sided 95 % quantiles for 1 to 12 degrees of freedom; the series below is exact beyond.
STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
           2.2010, 2.1788)
NORMAL = 1.959964


def student(freedom):
    """The 97.5 % quantile of Student's t; `freedom` may be fractional."""
    if freedom <= len(STUDENT):
        # Fractional degrees come from Welch's formula; the smaller whole number is the safe side.
        return STUDENT[max(1, int(freedom)) - 1]
    z = NORMAL
    return (z + (z ** 3 + z) / (4 * freedom)
            + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2)
            + (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * freedom ** 3))


class Ratio:
    """An estimate and its interval; `low` and `high` are None where one turn tells no interval."""

    def __init__(self, value, low=None, high=None):
        self.value = value
        self.low = low
        self.high = high

    def above(self, limit):
        """"over" when the whole interval is, "perhaps" when only the estimate is, else None."""
        if self.value <= limit:
            return None
        return "over" if self.low is not None and self.low > limit else "perhaps"


def moments(values):
    """Mean and variance of the mean; the variance is None for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)


def interval(mean, variance, freedom):
    """A Ratio from the logarithm's mean."""
    if variance is None:
        return Ratio(math.exp(mean))
    reach = student(freedom) * math.sqrt(variance) if variance else 0.0
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))


def logarithms(values, bases):
    """One a turn; turns in which either is not positive tell nothing."""
    return [math.log(value / base) for value, base in zip(values, bases)
            if value and base and value > 0 and base > 0]


def paired(values, bases):
    """Ratio of two contenders whose runs took turns, None where there is none."""
    logs = logarithms(values, bases)
    if not logs:
        return None
    return interval(*moments(logs), len(logs) - 1)


def together(pairs):
    """Geometric mean of several tests' ratios; the interval is of the measurement, for these tests.

    The tests' errors are independent: their variances add up, and Welch and Satterthwaite tell the
    degrees of freedom.
    """
    told = [logarithms(values, bases) for values, bases in pairs]
    told = [logs for logs in told if logs]
    if not told:
        return None
    mean = math.fsum(moments(logs)[0] for logs in told) / len(told)
    parts = [(moments(logs)[1], len(logs) - 1) for logs in told]
    if any(variance is None for variance, _ in parts):
        return Ratio(math.exp(mean))
    total = math.fsum(variance for variance, _ in parts)
    weight = math.fsum(variance ** 2 / freedom for variance, freedom in parts)
    return interval(mean, total / len(told) ** 2, total ** 2 / weight if weight else 1)
