# SPDX-License-Identifier: BSD-2-Clause
"""Ratios of what two peers measured in turn, with their spread."""
import os
import random
import statistics


def quartiles(values):
    """(first quartile, median, third quartile); of one value, three times it."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def interval(ratios, draws=2000):
    """95 % interval of the median of `ratios`, by drawing from them again and again."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios)))
                     for _ in range(draws))
    return medians[int(draws * 0.025)], medians[int(draws * 0.975)]


def load():
    return "load %.1f" % os.getloadavg()[0]


def ratio_text(ours, theirs, goal=None, more_is_better=False):
    """Compare blocks measured in turn: ours[i] and theirs[i] are neighbours in time."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    middle = statistics.median(ratios)
    low, high = interval(ratios)
    text = f"ratio {middle:.3f} (95 %: {low:.3f}..{high:.3f}, {len(ratios)} pairs)"
    if goal is None:
        return text
    met = low >= goal if more_is_better else high <= goal
    missed = high < goal if more_is_better else low > goal
    verdict = "met" if met else "missed" if missed else "not decided"
    return f"{text}, goal {'>=' if more_is_better else '<='} {goal}: {verdict}"


def spread_text(values, unit):
    low, middle, high = quartiles(values)
    return f"{middle:.1f} {unit} ({low:.1f}..{high:.1f})"
