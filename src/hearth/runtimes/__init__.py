"""Per managed runtime: how its process starts and what it needs; which interpreters are here."""
