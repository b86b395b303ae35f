"""The compiler passes; each is a frozen dataclass with one ``run``."""
