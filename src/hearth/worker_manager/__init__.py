"""Which sandbox serves which invoke: idle, busy, finishing, starting."""
