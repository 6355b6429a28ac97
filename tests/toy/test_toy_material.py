"""Photos and notes as files, from which `compose` makes videos."""

import librosa
import numpy as np
import soundfile
from PIL import Image
from toyfiles import files

from sop_core.toy.material import write_material
from sop_core.toy.music import INSTRUMENTS


def test_notes_have_the_pitch_of_their_name(tmp_path):
    _, sounds = write_material(tmp_path, ("flute", "trumpet"), photos=1, libraries=1)
    for label in ("flute", "trumpet"):
        notes = sorted((sounds / label / "library_0").iterdir())
        assert len(notes) >= 8
        for note in notes[::3]:
            sound, rate = soundfile.read(note)
            hz = librosa.note_to_hz(note.stem.replace("s", "#"))
            heard = librosa.yin(sound[rate // 4 : rate], fmin=100, fmax=2000, sr=rate)
            assert abs(1200 * np.log2(np.median(heard) / hz)) < 30, note
            low, high = (440 * 2 ** ((m - 69) / 12) for m in (INSTRUMENTS[label].low, 84))
            assert 0.99 * low <= hz <= 1.01 * high


def test_more_photos_and_libraries_leave_the_others_as_they_are(tmp_path):
    write_material(tmp_path / "few", ("cello",), photos=2, libraries=1)
    write_material(tmp_path / "many", ("cello", "guitar"), photos=3, libraries=2)
    few, many = files(tmp_path / "few"), files(tmp_path / "many")
    assert few.items() <= many.items() and len(set(many.values())) == len(many)
    photo = Image.open(tmp_path / "many/photos/cello/02.jpg")
    assert photo.size == (320, 240) and np.asarray(photo).std() > 20


def test_libraries_of_a_label_sound_unlike(tmp_path):
    _, sounds = write_material(tmp_path, ("flute",), photos=0, libraries=3)
    spectra = []
    for k in range(3):
        sound, _ = soundfile.read(sounds / "flute" / f"library_{k}" / "C5.wav")
        spectrum = np.abs(np.fft.rfft(sound[4_000:40_000] * np.hanning(36_000)))
        spectra.append(spectrum / spectrum.max())
    peaks = [np.sort(s)[-40:] for s in spectra]
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(peaks, peaks[1:], strict=False))
