#!/usr/bin/env python3
"""Writes the archives of this folder by NumPy itself: python3 make.py (Debian: python3-numpy)."""
import os

import numpy

here = os.path.dirname(os.path.abspath(__file__))
arrays = {
    "x": numpy.arange(6, dtype=numpy.float32).reshape(2, 3) / 4,
    "layers.0/weight": numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
    "count": numpy.array(7, dtype=numpy.int64),
}
numpy.savez(os.path.join(here, "stored.npz"), **arrays)
numpy.savez_compressed(os.path.join(here, "compressed.npz"), **arrays)
