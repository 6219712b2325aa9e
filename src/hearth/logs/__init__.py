"""What did a function say? Log groups on disk, read by time or by place, and followed live."""
