"""Radial power spectra: the cheapest detector of what generators do to fine detail, blind to anatomy.

A generator that upsamples leaves too much or too little power at high frequencies (Durall et al. 2020,
arXiv:2003.01826), a checkerboard all of it in the corner of the spectrum, which the usual cut at the Nyquist frequency
of rows and columns leaves out. The spectra are those of the cosine transform: it continues an image by its mirror
image, so that the step between chest wall and background at the border adds nothing, and the whole tile counts.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

_ROUNDING = 1 / 12  # power of the rounding to grey levels, in all spectra alike, so that black images have one
_LOWEST = 4  # cycles per image from which the exponent is fitted: below is the shape of the breast


def radial_spectra(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Power of images (N, S, S) by frequency, log10 of grey levels squared, (N, R).

    Entry r is the mean over the frequencies within half a cycle per image of r, from 0 to the corner at S / sqrt(2).
    """
    side = images.shape[-1]
    cycles = np.arange(side) / 2  # of the cosines, per image
    ring = np.floor(np.hypot(cycles[:, None], cycles) + 0.5).astype(np.intp).ravel()
    counts = np.bincount(ring)
    spectra = np.empty((len(images), len(counts)))
    for image, spectrum in zip(images, spectra, strict=True):
        power = scipy.fft.dctn(image.astype(np.float64), norm="ortho") ** 2
        spectrum[:] = np.log10(np.bincount(ring, power.ravel()) / counts + _ROUNDING)
    return spectra


def spectrum_distance(real: NDArray[np.float64], fake: NDArray[np.float64]) -> float:
    """Root mean square difference of the mean spectra of two sets, (N, R) and (M, R), in decades of power.

    Over all frequencies but 0, which is brightness.
    """
    gap = real.mean(axis=0) - fake.mean(axis=0)
    return float(np.sqrt(np.mean(gap[1:] ** 2)))


def spectrum_exponent(spectra: NDArray[np.float64]) -> float:
    """Exponent b of the power law f**-b that fits the mean of spectra (N, R) best, up to the rows' Nyquist frequency.

    About 3 inside real breasts (Burgess et al. 2001, Med. Phys. 28, 419); larger is smoother.
    """
    nyquist = round((spectra.shape[1] - 1) / np.sqrt(2))
    frequency = np.arange(_LOWEST, nyquist + 1)
    slope = np.polyfit(np.log10(frequency), spectra.mean(axis=0)[frequency], 1)[0]
    return float(-slope)
