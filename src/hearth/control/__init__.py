"""Which functions exist? Their metadata in the engine, their packages, and who may change them."""
