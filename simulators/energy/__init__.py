"""Energy and latency estimates from action counts."""
