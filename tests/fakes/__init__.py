"""First-class fakes: classes with behaviour, which pass the same contract suites as the real ones."""
