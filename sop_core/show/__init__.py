# ruff: noqa: F401
"""Pictures and players for notebooks and reports, from arrays and results.

Nothing is computed here. This package imports no other one: annotations alone name scenes, clips
and results.
"""

from .clips import alignment, frames, lengths, maps, player, sound
from .figures import ENERGY, MASK, SOUND, decibels, figure_file, figure_png, picture, png
from .results import cases, confusion, example, history, labels, live, scores
from .scenes import cluster, clusters, energy, finds, moments, pixels, still
