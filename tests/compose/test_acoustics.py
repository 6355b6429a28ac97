"""Acoustics are what they say: filter, room, noise, compression, and a place between two ears."""

import numpy as np
import pytest
import torch

from sop_core.compose import acoustics
from sop_core.compose.acoustics import Drawn

RATE = 44_100


def drawn(n=1, **given) -> Drawn:
    """Acoustics that change nothing but for what is given, for each of n sounds."""
    flat = {"knots": torch.zeros(acoustics.KNOTS, dtype=torch.float64)}
    off = {"direct": torch.inf, "snr": torch.inf, "drive": 0.0, "ratio": 1.0}
    mild = {"rt60": 0.5, "gap": 0.01, "dark": 1e6, "tail": 0.3, "pink": 0.0, "noise": 0.6}
    values = {k: torch.as_tensor(v).double() for k, v in (flat | off | mild | given).items()}
    spread = {k: v.expand(n, acoustics.KNOTS) if k == "knots" else v for k, v in values.items()}
    return Drawn(**{k: v if k == "knots" else v.expand(n) for k, v in spread.items()})


def music(n: int, length: int, rate: int = RATE) -> torch.Tensor:
    """Tones that come and go."""
    t = np.arange(length) / rate
    tones = [np.sin(2 * np.pi * (200 + 70 * k) * t) * (1 + np.sin(9 * t + k)) for k in range(n)]
    return torch.from_numpy(0.1 * np.stack(tones).astype(np.float32))


def impulse(length: int, at: int = 0) -> torch.Tensor:
    sound = torch.zeros(1, length)
    sound[0, at] = 1.0
    return sound


def db(power) -> np.ndarray:
    return 10 * np.log10(power)


def rms(sounds) -> np.ndarray:
    return np.sqrt(np.square(np.asarray(sounds, np.float64)).mean(-1))


def test_the_equaliser_is_the_line_through_its_knots():
    knots = np.array([4.0, -7, 3, 9, -2, 0, 6, -5])
    sound = acoustics.heard(impulse(RATE, RATE // 2), RATE, drawn(knots=knots))[0].numpy()
    hertz = np.arange(50, 22_000)  # bins of one second
    gain = db(np.square(np.abs(np.fft.rfft(sound))))[hertz]
    octaves = np.linspace(np.log2(40), np.log2(RATE / 2), len(knots))
    expected = np.interp(np.log2(hertz), octaves, knots)
    # the sound's RMS is kept, so the mean power of the line is 0 dB
    everywhere = np.interp(np.log2(np.arange(1, 22_050)), octaves, knots)
    expected -= db(np.mean(10 ** (everywhere / 10)))
    assert np.abs(gain - expected).max() < 0.1
    assert np.abs(sound).argmax() == RATE // 2  # no delay


@pytest.mark.parametrize("rate", [11_025, 44_100])
@pytest.mark.parametrize("rt60", [0.2, 0.5, 0.95])
def test_the_tail_falls_by_60_db_in_rt60(rt60, rate):
    """Schroeder's backward integration of each impulse response, its line from -5 to -35 dB."""
    n = 12
    rooms = drawn(n, rt60=rt60, direct=0.0, gap=0.015)._replace(tail=torch.linspace(0, 0.9, n))
    responses = acoustics.heard(impulse(2 * rate).expand(n, -1), rate, rooms).numpy()
    tails = responses[:, round(0.015 * rate) + 1 :]
    fall = db(np.cumsum(np.square(tails, dtype=np.float64)[:, ::-1], 1)[:, ::-1] + 1e-30)
    found = []
    for curve in fall - fall[:, :1]:
        part = np.flatnonzero((curve < -5) & (curve > -35))
        found.append(-60 / np.polyfit(part / rate, curve[part], 1)[0])
    assert np.median(found) == pytest.approx(rt60, rel=0.05)
    assert found == pytest.approx([rt60] * n, rel=0.15)
    assert np.abs(responses[:, 2 : round(0.0149 * rate)]).max() < 1e-3 * responses[:, 0].min()


@pytest.mark.parametrize("direct", [-4.0, 6.0, 18.0])
def test_direct_sound_and_tail_are_as_far_apart_as_drawn(direct):
    room = drawn(direct=direct, dark=3_000.0)
    response = acoustics.heard(impulse(2 * RATE, 1_000), RATE, room)[0].double().numpy()
    tail = np.square(response[1_000 + round(0.009 * RATE) :]).sum()
    assert db(response[1_000] ** 2 / tail) == pytest.approx(direct, abs=0.5)


def test_the_tail_is_darker_than_the_direct_sound():
    room = drawn(direct=0.0, dark=2_000.0)
    sound = acoustics.heard(impulse(2 * RATE), RATE, room)[0].numpy()
    power = np.square(np.abs(np.fft.rfft(sound[100:])))  # bins of half a second's width
    low, high = power[400:1_000].mean(), power[28_000:36_000].mean()
    # a first-order low-pass, in the middle of both bands
    expected = db((1 + (16_000 / 2_000) ** 2) / (1 + (350 / 2_000) ** 2))
    assert db(low / high) == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize(("pink", "slope"), [(0.0, 0.0), (1.0, -3.01)])
@pytest.mark.parametrize("snr", [22.0, 40.0])
def test_noise_is_as_soft_and_as_coloured_as_drawn(pink, slope, snr):
    sound = music(1, 3 * RATE)
    noisy = acoustics.heard(sound, RATE, drawn(snr=snr, pink=pink))
    scale = (noisy * sound).sum() / sound.square().sum()
    noise = (noisy - scale * sound)[0].numpy()
    assert 2 * db(rms(scale * sound) / rms(noise)).item() == pytest.approx(snr, abs=1)
    power = np.square(np.abs(np.fft.rfft(noise)))  # 3 bins a hertz
    octaves = [power[3 * low : 6 * low].mean() for low in (1_000, 2_000, 4_000, 8_000)]
    assert np.diff(db(octaves)) == pytest.approx([slope] * 3, abs=0.35)


def test_soft_clipping_and_compression_do_what_they_are_called_for():
    t = torch.arange(2 * RATE) / RATE
    swell = torch.sin(2 * torch.pi * 300 * t)[None] * torch.where(t < 1, 0.5, 0.1)
    clipped = acoustics.heard(swell, RATE, drawn(drive=0.7))[0].numpy()
    spectrum = np.abs(np.fft.rfft(clipped[:RATE]))
    assert spectrum[900] > 30 * np.delete(spectrum, [300, 900, 1_500, 2_100, 2_700, 3_300]).max()
    squeezed = acoustics.heard(swell, RATE, drawn(ratio=3.0))[0].numpy()
    loud, soft = rms(squeezed[2_000 : RATE - 2_000]), rms(squeezed[RATE + 2_000 :])
    before = 2 * db(0.5 / 0.1)
    assert 2 * db(loud / soft) == pytest.approx(before / 3, abs=0.2)
    assert abs(np.abs(np.fft.rfft(squeezed[:RATE]))[900] / spectrum[300]) < 1e-3  # no new tones


@pytest.mark.parametrize(("rate", "length"), [(11_025, 16_383), (11_025, 777), (44_100, 50_000)])
def test_level_and_silence_are_kept(rate, length):
    sounds = music(40, length, rate)
    sounds[7], sounds[8] = 0, 1e-4 * sounds[8]
    before = sounds.clone()
    changed = acoustics.acoustics(sounds, rate, torch.Generator().manual_seed(1))
    assert torch.equal(sounds, before) and changed.dtype == torch.float32
    assert not changed[7].any() and changed.isfinite().all()
    np.testing.assert_allclose(rms(changed), rms(before), rtol=1e-3)
    assert sum(torch.allclose(a, b) for a, b in zip(changed, sounds, strict=True)) < 5


def test_a_seed_gives_the_same_whatever_is_beside(monkeypatch):
    sounds = music(6, 9_000)
    sounds.requires_grad_()

    def heard(some, seed=5):
        return acoustics.acoustics(some, RATE, torch.Generator().manual_seed(seed))

    changed = heard(sounds)
    assert torch.equal(changed, heard(sounds)) and not changed.requires_grad
    assert not torch.allclose(changed, heard(sounds, 6), atol=1e-3)
    alone = heard(torch.cat([sounds[:2], torch.zeros(1, 9_000)]))
    torch.testing.assert_close(alone[:2], changed[:2], rtol=0, atol=1e-6)
    monkeypatch.setattr(acoustics, "AT_ONCE", 20_000)  # two sounds at a time
    torch.testing.assert_close(heard(sounds), changed, rtol=0, atol=1e-6)
    assert heard(sounds[:0]).shape == (0, 9_000)


def test_what_is_drawn_has_the_shares_and_ranges_that_are_written_down():
    many = acoustics.draw(4_000, torch.Generator().manual_seed(0))
    equalised, room, noisy = many.knots.any(1), many.direct.isfinite(), many.snr.isfinite()
    clipped, compressed = many.drive > 0, many.ratio > 1
    shares = [m.double().mean().item() for m in (equalised, room, noisy, clipped, compressed)]
    assert shares == pytest.approx([0.8, 0.8, 0.6, 0.25, 0.25], abs=0.03)
    assert not (clipped & compressed).any()
    assert many.knots[equalised].std(0).tolist() == pytest.approx([5.0] * 8, rel=0.05)
    ranges = [
        (many.rt60, 0.1, 1), (many.gap, 0.001, 0.02), (many.direct[room], -4, 18),
        (many.snr[noisy], 22, 57), (many.drive[clipped], 0.1, 0.7),
    ]  # fmt: skip
    for values, low, high in ranges:
        assert (values.min().item(), values.max().item()) == pytest.approx(
            (low, high), abs=0.01 * (high - low)
        )
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    few = acoustics.draw(3, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b[:3]) for a, b in zip(few, many, strict=True))


def test_two_channels_have_equal_power_and_add_up_to_the_mono_sound():
    torch.manual_seed(0)
    sounds, places = torch.randn(5, RATE), torch.tensor([-1.0, -0.4, 0.0, 0.5, 1.0])
    left, right = acoustics.stereo(sounds, places, RATE).unbind(1)
    mean = (left + right) / 2
    level = np.cos(np.pi / 4 * places.numpy())[:, None]  # 1 to 0.71: 3 dB
    np.testing.assert_allclose(mean, level * sounds.numpy(), atol=2e-5)
    loud, soft = rms(right), rms(left)
    np.testing.assert_allclose(loud**2 + soft**2, 2 * rms(sounds) ** 2, rtol=0.03)
    angle = np.pi / 4 * (1 + places.numpy())
    np.testing.assert_allclose(loud, np.sqrt(2) * np.sin(angle) * rms(sounds), rtol=0.03, atol=0.01)
    torch.testing.assert_close(left[2], sounds[2], rtol=0, atol=1e-5)
    assert soft[4] < 1e-4 > loud[0]


@pytest.mark.parametrize("place", [-0.7, -0.2, 0.3, 0.8])
def test_the_near_ear_is_earlier_at_low_frequencies_and_louder_at_all(place):
    """A tone's phase in both channels gives the delay, its amplitudes the level."""
    t = np.arange(RATE) / RATE
    hertz = np.array([100, 6_000])
    tones = torch.from_numpy(np.sin(2 * np.pi * hertz[:, None] * t).astype(np.float32))
    both = acoustics.stereo(tones, torch.full((2,), place), RATE).numpy()
    (low_l, low_r), (high_l, high_r) = [
        [np.fft.rfft(channel)[f] for channel in pair] for f, pair in zip(hertz, both, strict=True)
    ]
    delay = np.angle(low_r / low_l) / (2 * np.pi * 100)  # s by which the right ear is earlier
    assert delay == pytest.approx(0.6e-3 * place, rel=0.02)
    for ratio in (low_r / low_l, high_r / high_l):
        assert abs(ratio) == pytest.approx(np.tan(np.pi / 4 * (1 + place)), rel=0.01)
    assert abs(np.angle(high_r / high_l)) < 0.7 * abs(place)  # 19 of the delay's 130 degrees
