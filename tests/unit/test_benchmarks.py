# SPDX-License-Identifier: Apache-2.0
"""What the benchmark calls a failure."""

import json
import subprocess

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.__main__ import Figures
from benchmarks.engines import Comparison, Seconds
from demo.project import RELEASES

MB = 1_000_000


@pytest.mark.parametrize(
    ("figures", "failures"),
    [
        (Figures([10.0, 99.0, 10.0], [10.0, 10.0, 1.0], [9.6, 1.0, 99.0], 60 * MB, 60 * MB), 0),
        (Figures([10.1], [10.0], [10.0], 60 * MB, 60 * MB), 1),
        (Figures([5.3], [10.0], [5.0], 60 * MB, 60 * MB), 1),
        (Figures([5.0], [10.0], [5.0], 81 * MB, 60 * MB), 1),
        (Figures([5.0], [10.0], [5.0], 60 * MB, 81 * MB), 1),
        (Figures([11.0], [10.0], [10.0], 81 * MB, 81 * MB), 3),
    ],
)
def test_slower_than_the_script_or_too_big_is_a_failure(figures: Figures, failures: int):
    assert len(figures.failures) == failures


def test_both_medians_are_printed_beside_the_ratio():
    text = benchmarks._as_text(Figures([4.0, 6.0, 5.0], [20.0, 10.0, 30.0], [4.8, 4.9, 4.7], 50 * MB, 70 * MB))
    assert "0.25" in text
    assert "5.0 s / 20.0 s" in text
    assert "1.04" in text and "5.0 s / 4.8 s" in text
    assert "50 MB" in text and "70 MB" in text


def test_figures_as_json_say_what_is_over():
    shown = json.loads(benchmarks._as_json(Figures([11.0], [10.0], [10.9], 50 * MB, 50 * MB)))
    assert shown["ratio"] == pytest.approx(1.1)
    assert shown["box"] == pytest.approx(11 / 10.9)
    assert len(shown["failures"]) == 1


def test_script_walks_the_branches_of_the_demo():
    subprocess.run(["bash", "-n", benchmarks.SCRIPT], check=True)
    script = benchmarks.SCRIPT.read_text()
    assert f"releases=({' '.join(release.branch for release in RELEASES)})" in script


def test_two_engines_are_compared_part_by_part():
    runs = {
        "system": (Seconds(10, 1, 4), Seconds(90, 90, 90), Seconds(8, 0.5, 3)),
        "mysql-9.7": (Seconds(15, 2, 8), Seconds(15, 2, 8), Seconds(1, 1, 1)),
    }
    comparison = Comparison(runs, "Ver 9.7.4-2")
    assert "mysql-9.7 (Ver 9.7.4-2) and on system, medians of 3 runs" in comparison.as_text()
    assert "1.50   (15.0 s / 10.0 s)" in comparison.as_text()
    shown = json.loads(comparison.as_json())
    assert shown["ratios"] == {"job": 1.5, "restore": 2.0, "walk": 2.0} and shown["seconds"]["system"]["walk"] == 4
