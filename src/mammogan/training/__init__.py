"""Training of a GAN: pure losses and averages, and the one loop that uses them."""
