"""Which system calls may a function make? The profile, and its compiled bytes per architecture."""
