"""Finding copies: clips with the same sound or the same pictures, under two ids.

Fingerprints propose pairs, and the files decide: the sounds have to be one waveform where they
overlap, or the pictures have to be alike and to change alike. So another take of a tune is no copy.

Landmarks are sorted, and each is compared with its next neighbours alone: the work grows as the
number of clips does.
"""

from collections.abc import Sequence

import numpy as np

from ..config import AnyPath
from ..errors import SopError
from ..media.processes import in_processes
from ..media.sound import read_sound, sound_length
from .clips import Candidate
from .copies import Copy, Groups, data_of
from .fingerprints import BITS, CHANGE, HOP, PLAIN, RATE, Fingerprint, fingerprints, looks

# Proposing: numbers of 64 bits are sorted, of landmark, clip and time
CLIP_BITS, TIME_BITS = 20, 18  # a million clips, 101 minutes
PARTS = 1 << (BITS + CLIP_BITS + TIME_BITS - 64)  # landmarks are sorted in so many parts
NEXT = 4  # a landmark is compared with the same one in so many next clips
VOTES = 5  # so many equal landmarks at one shift propose a pair
SPAN = 65  # steps of `HOP`, 1.5 s: and they are so far apart
ROUND = 10_000  # clips: votes for so many are in memory at a time
SHIFTS = 3  # of a pair: music repeats, so the shift with most votes may be a wrong one
LOOPS = 32  # equal landmarks of a clip that vote, at most: music repeats
# Deciding
OVERLAP = 3  # seconds that two sounds have in common, at least
LONGEST = 60  # seconds that are compared, at most
SLACK = 4 * HOP  # samples by which the proposed shift may be wrong
BLOCK = RATE // 2  # samples of which a correlation is taken
SOFT = 1e-4  # of the energy of the loudest block: softer ones are left out
ALIKE = 0.6  # correlation of copies, at least: of sound at 16 kbit/s 0.9, of other takes 0.1
UNIQUE = 0.97  # of a copy's correlation: a tone that repeats itself has as much at other shifts
LOBE = 40  # samples around a maximum that belong to it


def search(
    clips: Sequence[Candidate], jobs: int | None = None, progress: bool = True
) -> list[Copy]:
    """Find copies among clips. Their fingerprints are kept in the folder of the first one."""
    prints = fingerprints(clips, data_of(clips[0].sound), jobs, progress)
    return find_copies(clips, prints, jobs, progress)


def find_copies(
    clips: Sequence[Candidate],
    prints: Sequence[Fingerprint],
    jobs: int | None = None,
    progress: bool = True,
) -> list[Copy]:
    """Find copies among clips, by their sound or their pictures.

    Of a group of copies there are as many as join it: one less than it has clips.

    Args: `prints`: the clips' fingerprints. `jobs`: processes (None: one per core).
    """
    if not prints:
        return []
    shifts = {(a, b): likely_shifts(prints[a], prints[b]) for a, b in propose(prints)}
    pictures = _alike(prints)
    pairs = sorted({pair for pair, found in shifts.items() if found} | pictures)
    work = [((clips[a], clips[b]), shifts.get((a, b), ()), (a, b) in pictures) for a, b in pairs]
    compared = in_processes(_compare, work, "copies", "compared clips", "pair", jobs, progress)
    found = [Copy(b, a, how) for (a, b), how in zip(pairs, compared, strict=True) if how]
    groups = Groups[int]()
    return [copy for copy in found if groups.join(copy.copy_of, copy.clip)]


def propose(prints: Sequence[Fingerprint]) -> set[tuple[int, int]]:
    """Pairs of clips (a, b), a < b, with several landmarks in common at one shift.

    In many clips chance makes such pairs, too: `likely_shifts` sorts them out.
    """
    counts = [len(one.landmarks) for one in prints]
    clip = np.repeat(np.arange(len(prints), dtype=np.uint32), counts)
    landmarks = np.concatenate([one.landmarks for one in prints])
    times = np.concatenate([one.times for one in prints]) % np.uint32(1 << TIME_BITS)
    orders = []
    for part in range(PARTS):
        mine = landmarks % np.uint32(PARTS) == part
        order = (landmarks[mine] // np.uint32(PARTS)).astype(np.uint64) << np.uint64(CLIP_BITS)
        order = (order | clip[mine]) << np.uint64(TIME_BITS) | times[mine]
        order.sort()
        orders.append(order)
    del clip, landmarks, times, mine, order  # twice as much as the sorted ones
    steps = [(order, step) for order in orders for step in range(1, NEXT + 1)]
    pairs = set()
    for start in range(0, len(prints), ROUND):
        votes = np.concatenate([_votes(*each, range(start, start + ROUND)) for each in steps])
        votes.sort()
        # so many of one pair within 46 ms
        first, last = votes[: max(0, len(votes) - VOTES + 1)], votes[VOTES - 1 :]
        agreed = np.unique(first[last - first <= 2] >> TIME_BITS + 1).tolist()
        pairs.update(divmod(pair, 1 << CLIP_BITS) for pair in agreed)
    return pairs


def _votes(order: np.ndarray, step: int, clips: range) -> np.ndarray:
    """int64: (a, b, shift) of equal landmarks, `step` apart in the sorted ones; a is in `clips`."""
    low, high = order[:-step], order[step:]
    same = (low ^ high) >> np.uint64(CLIP_BITS + TIME_BITS) == 0
    low, high = low[same].astype(np.int64), high[same].astype(np.int64)
    whole, time = (1 << CLIP_BITS) - 1, (1 << TIME_BITS) - 1
    a, b = low >> TIME_BITS & whole, high >> TIME_BITS & whole
    mine = (a != b) & (a >= clips.start) & (a < clips.stop)
    shift = (low & time) - (high & time) + time
    return ((a << CLIP_BITS | b) << TIME_BITS + 1 | shift)[mine]


def likely_shifts(a: Fingerprint, b: Fingerprint) -> list[int]:
    """By how much b may begin later than a, in steps of `HOP`: the likeliest first.

    Returns: none where the landmarks in common are a few notes.
    """
    order = np.argsort(a.landmarks, kind="stable")
    known = a.landmarks[order]
    first, last = (np.searchsorted(known, b.landmarks, side) for side in ("left", "right"))
    counts = np.minimum(last - first, LOOPS)
    # each landmark of b with each equal one of a
    n = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    times = np.repeat(b.times.astype(int), counts)
    shifts = a.times[order[n]].astype(int) - times
    found = []
    for _ in range(SHIFTS):
        if len(shifts) < VOTES:
            break
        low = shifts.min() - 1
        best = int(np.convolve(np.bincount(shifts - low), [1, 1, 1], "same").argmax() + low)
        moments = np.unique(times[abs(shifts - best) <= 1])
        if len(moments) >= VOTES and moments[-1] - moments[0] >= SPAN:
            found.append(best)
        others = abs(shifts - best) > 4
        shifts, times = shifts[others], times[others]
    return found


def _alike(prints: Sequence[Fingerprint]) -> set[tuple[int, int]]:
    """Pairs of clips (a, b), a < b, with the same picture at one moment."""
    pairs = set()
    clip = np.repeat(np.arange(len(prints)), 2)
    for moment in np.stack([one.moments for one in prints], axis=1):  # (clips, 2)
        pictures = moment.ravel()
        order = np.argsort(pictures, kind="stable")
        for step in range(1, NEXT + 1):
            low, high = order[:-step], order[step:]
            same = (pictures[low] == pictures[high]) & (pictures[low] != 0)
            a, b = clip[low[same]], clip[high[same]]
            pairs.update(zip(a[a != b].tolist(), b[a != b].tolist(), strict=True))
    return pairs


def _compare(pair: tuple[Candidate, Candidate], shifts: Sequence[int], alike: bool) -> str:
    """What the files of two clips have in common, in words; "" where they are no copies."""
    one, other = pair
    try:
        for seconds in (shift * HOP / RATE for shift in shifts):
            if _same_sound(one.sound, other.sound, seconds):
                shifted = f", shifted by {abs(seconds):.1f} s"
                return "same sound" + (shifted if abs(seconds) > 0.1 else "")
        pictures = (looks(clip.frames, clip.n_frames) for clip in pair)
        return "same pictures" if alike and same_pictures(*pictures) else ""
    except (SopError, OSError, ValueError):
        return ""  # a file that can't be read: `check` names it


def _same_sound(one: AnyPath, other: AnyPath, shift: float) -> bool:
    """Whether two files have the same sound, if the second begins `shift` seconds later."""
    pieces = []
    for path, start in ((one, max(shift, 0)), (other, max(-shift, 0))):
        samples, rate = sound_length(path)
        first = min(round(start * rate), samples)
        count = min(LONGEST * rate, samples - first)
        pieces.append(read_sound(path, first, count, RATE))
    return same_sound(*pieces)


def same_sound(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sounds that begin at the same moment, within `SLACK`, are one waveform.

    Level, polarity and code don't matter. A tone that stands still is never told for a copy.

    Args: `a`, `b`: (L,), other lengths, at `RATE`.
    """
    from scipy.signal import correlate

    length = min(len(a), len(b))
    if length < OVERLAP * RATE:
        return False
    a, b = np.diff(a[:length]), np.diff(b[:length])  # hum and thumps count less
    shifted = abs(correlate(a, b, method="fft")[length - 2 - SLACK : length - 1 + SLACK])
    best = int(shifted.argmax())
    others = np.delete(shifted, slice(max(0, best - LOBE), best + LOBE + 1))
    if not shifted[best] or others.max() > UNIQUE * shifted[best]:
        return False
    lag = best - SLACK
    a, b = a[max(lag, 0) :], b[max(-lag, 0) :]
    count = min(len(a), len(b)) // BLOCK
    a, b = (x[: count * BLOCK].reshape(count, BLOCK) for x in (a, b))
    energies = (a * a).sum(axis=1), (b * b).sum(axis=1)
    loud = np.logical_and(*(e > SOFT * e.max() for e in energies))
    if loud.sum() * BLOCK < OVERLAP * RATE / 2:
        return False
    r = abs((a * b).sum(axis=1)[loud]) / np.sqrt(energies[0] * energies[1])[loud]
    return bool(min(np.median(r), r.mean()) > ALIKE)


def same_pictures(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two clips show the same: alike, and changing alike. Light and contrast don't matter.

    Args: `a`, `b`: (k, h, w), grey of 0 to 255 (`fingerprints.looks`).
    """
    still, moved = zip(*((x.mean(axis=0), x - x.mean(axis=0)) for x in (a, b)), strict=True)
    a, b = (x - x.mean() for x in still)
    if min(a.std(), b.std()) < PLAIN or (a * b).mean() < 0.95 * a.std() * b.std():
        return False
    changes = [abs(x).max() > CHANGE for x in moved]
    if not any(changes):  # two stills
        return bool((a * b).mean() > 0.995 * a.std() * b.std())
    return all(changes) and bool(
        (moved[0] * moved[1]).mean() > ALIKE * np.prod([x.std() for x in moved])
    )
