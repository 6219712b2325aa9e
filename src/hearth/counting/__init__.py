"""May one more run? Concurrency of the account; later also reserved and provisioned."""
