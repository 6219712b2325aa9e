"""How is a durable execution kept, run, put to sleep, woken and told? See docs/decisions/0034."""
