"""First-class fakes: classes with behaviour, which pass the contract suites of the real ones."""
