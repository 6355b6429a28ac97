"""A scene for tests of the player: every answer is known, and each picture shows its time."""

from types import SimpleNamespace

import numpy as np


class ToneScene:
    """9 rows, 14 columns, a tone for each cell.

    So a click at (column, row) sounds wrong, or is off the grid. A region is the sum of its first
    and last cell's tones; the mixture has a tone at 200 Hz. Picture k is red in its upper half, and
    has a white bar at the left that grows with k. Cluster 0, the left three columns, sounds from
    the second half on.
    """

    fps = 10.0

    def __init__(self, grid=(9, 14), rate=11_025, seconds=2.0, level=0.2):
        self.grid = grid
        self.rate = rate
        self.level = level
        self.calls = []
        self.time = np.arange(round(seconds * rate)) / rate
        self.mixture = (0.5 * np.sin(2 * np.pi * 200 * self.time)).astype(np.float32)

    @staticmethod
    def hertz(cell):
        return 300 + 200 * cell[0] + 10 * cell[1]

    def part(self, start, end):
        other = ToneScene(self.grid, self.rate, end - start, self.level)
        other.mixture = self.mixture[round(start * self.rate) : round(end * self.rate)]
        other.time = np.arange(len(other.mixture)) / self.rate
        return other

    def pictures(self):
        count = max(1, round(len(self.time) / self.rate * self.fps))
        pictures = np.zeros((count, 180, 320, 3), np.uint8)
        pictures[:, :90, :, 0] = 255  # the upper half is red
        for k in range(count):
            pictures[k, 180 - 180 * (k + 1) // count :, :20] = 255
        return pictures

    def energy(self):
        return np.linspace(0, 1, self.grid[0] * self.grid[1]).reshape(self.grid)

    def energies(self):
        count = len(self.pictures())
        return self.energy() * np.linspace(0, 1, count)[:, None, None]  # grows

    def clusters(self):
        count = len(self.pictures())
        labels = np.full((count, *self.grid), -1)
        labels[count // 2 :, :, :3] = 0
        labels[:, 0, -3:] = 1
        left = [(r, c) for r in range(self.grid[0]) for c in range(3)]
        top = [(0, c) for c in range(self.grid[1] - 3, self.grid[1])]
        return SimpleNamespace(
            labels=labels, names=["left", "top right"], shares=[0.6, 0.25], regions=[left, top]
        )

    def tracks(self, regions):
        self.calls.append(regions)

        def tone(cell):
            return self.level * np.sin(2 * np.pi * self.hertz(cell) * self.time)

        tones = [sum(map(tone, {region[0], region[-1]})) for region in regions]
        return np.float32([*tones, self.mixture - sum(tones)])

    def heard(self, regions, partition=False):
        """Where nothing else sounds, the first one gets what is left."""
        sounds = self.tracks(regions)
        if partition:
            sounds[0] += sounds[-1]
            sounds[-1] = 0
        energy = np.square(sounds, dtype=np.float64).sum(1)
        return sounds, energy / max(np.square(self.mixture, dtype=np.float64).sum(), 1e-12)

    def spectrogram(self, sounds):
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(sounds), 510, axis=-1)
        frames = windows[..., ::256, :]
        return np.abs(np.fft.rfft(frames * np.hanning(510))).swapaxes(-1, -2)
