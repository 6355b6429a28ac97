"""What separates without eyes or training: NMF, the paper's first baseline."""

import numpy as np
from torch import Tensor

from .config import Config
from .errors import SopError
from .spectrogram import istft, magnitude, stft

COMPONENTS = 25  # of the factorization, a source
MFCCS = 13  # that tell how a component sounds


def nmf(mixture: Tensor, count: int, config: Config, seed: int = 0) -> Tensor:
    """The `count` sounds of a mixture, in no order: its spectrogram as a sum of components, which are grouped by how they sound.

    Non-negative factorization (Kullback-Leibler) of the magnitudes, components clustered by the MFCCs of their spectra (k-means),
    each cluster's share of the factorization as a ratio mask. Shape: (L,) -> (N, L)
    Raises SopError where librosa and scikit-learn are not installed.
    Source: Zhao et al. 2018, section 5.1; Virtanen 2007; Spiertz & Gnann 2009 for the clustering.
    """
    try:
        import librosa
        from sklearn.cluster import KMeans
        from sklearn.decomposition import NMF
        from threadpoolctl import threadpool_limits
    except ImportError as e:
        raise SopError(f"the baseline nmf needs {e.name}: pip install 'sop-core[baselines]'") from None
    spec = stft(mixture, config.n_fft, config.hop)
    mags = magnitude(spec).cpu().numpy().astype(np.float64)  # (F_linear, T)
    if not mags.any():
        return mixture.expand(count, -1) / count
    with threadpool_limits(1):  # threads of theirs go on spinning after their work, and make torch many times slower
        factors = NMF(min(COMPONENTS * count, *mags.shape), init="nndsvda", solver="mu", beta_loss="kullback-leibler",
                      max_iter=200, tol=1e-3, random_state=seed)  # fmt: skip
        spectra = factors.fit_transform(mags / max(mags.max(), 1e-8))  # (F_linear, components)
        bank = librosa.filters.mel(sr=config.rate, n_fft=config.n_fft, n_mels=40)
        timbre = librosa.feature.mfcc(
            S=librosa.power_to_db(bank @ (spectra / (spectra.sum(0) + 1e-12)) ** 2), n_mfcc=MFCCS
        )
        group = KMeans(count, n_init=10, random_state=seed).fit_predict(timbre[1:].T)  # the first is loudness
    parts = np.stack([spectra[:, group == n] @ factors.components_[group == n] for n in range(count)])
    shares = spec.real.new_tensor(parts / (parts.sum(0) + 1e-12))
    return istft(shares * spec, config.hop, mixture.shape[-1])
