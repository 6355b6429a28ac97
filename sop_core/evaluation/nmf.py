"""Separation without pictures or training: NMF, the first baseline of the paper."""

import numpy as np
from torch import Tensor

from ..config import Config
from ..errors import needing
from ..model.spectrogram import istft, magnitude, stft

COMPONENTS = 25  # of the factorization, for each source
MFCCS = 13  # coefficients that describe the timbre of a component


def nmf(mixture: Tensor, count: int, config: Config, seed: int = 0) -> Tensor:
    """Separate a mixture into `count` sounds, in no particular order.

    NMF with the Kullback-Leibler divergence factorizes the magnitudes into components. k-means
    clusters the components by the MFCCs of their spectra. Each cluster's share of the
    factorization is a ratio mask.

    Shape: (L,) -> (N, L)
    Raises SopError if librosa or scikit-learn is not installed, or can't be used.
    Source: Zhao et al. 2018, section 5.1; Virtanen 2007; Spiertz & Gnann 2009 for the clustering.
    """
    with needing("baselines", "the baseline nmf"):  # librosa loads what is asked for by name
        from librosa import power_to_db
        from librosa.feature import mfcc
        from librosa.filters import mel
        from sklearn.cluster import KMeans
        from sklearn.decomposition import NMF
        from threadpoolctl import threadpool_limits
    spec = stft(mixture, config.n_fft, config.hop)
    mags = magnitude(spec).cpu().numpy().astype(np.float64)  # (F_linear, T)
    if not mags.any():
        return mixture.expand(count, -1) / count

    # Several threads would keep spinning after their work, and make torch many times slower.
    with threadpool_limits(1):
        # Factorize: mags = spectra @ activations.
        how = {"init": "nndsvda", "solver": "mu", "beta_loss": "kullback-leibler"}
        until = {"max_iter": 200, "tol": 1e-3}
        factors = NMF(min(COMPONENTS * count, *mags.shape), **how, **until, random_state=seed)
        spectra = factors.fit_transform(mags / max(mags.max(), 1e-8))  # (F_linear, components)

        # Cluster the components by timbre.
        bank = mel(sr=config.rate, n_fft=config.n_fft, n_mels=40)
        power = bank @ (spectra / (spectra.sum(0) + 1e-12)) ** 2  # (mels, components)
        timbre = mfcc(S=power_to_db(power), n_mfcc=MFCCS)
        timbre = timbre[1:].T  # (components, MFCCS - 1): the first coefficient is loudness
        # scikit-learn has no types
        kmeans = KMeans(count, n_init=10, random_state=seed)  # pyright: ignore[reportArgumentType]
        cluster = kmeans.fit_predict(timbre)  # (components,)

    # The ratio mask of each cluster.
    members = [cluster == n for n in range(count)]
    parts = np.stack([spectra[:, own] @ factors.components_[own] for own in members])
    mask = spec.real.new_tensor(parts / (parts.sum(0) + 1e-12))  # (N, F_linear, T)
    return istft(mask * spec, config.hop, mixture.shape[-1])
