"""What a training run is made of: its losses, its scores, its loop, its checkpoints."""
