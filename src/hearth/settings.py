"""What was this Hearth told? One frozen dataclass, read once; rooms get plain values."""
