"""Training: low-rank spiking networks whose rank can be chosen after training."""
