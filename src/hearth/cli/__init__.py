"""What does a user type? The `hearth` command. See docs/cli.md."""
