"""What networks compute, in plain NumPy: the reference for every backend."""
