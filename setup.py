"""What pyproject.toml can't say: a wheel holds the shipped weights, which lie in data/."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["sop_core*"]), "sop_core.demo_weights", "sop_core.weights"],
    package_dir={
        "sop_core.demo_weights": "data/demo_weights",
        "sop_core.weights": "data/weights",
    },
)
