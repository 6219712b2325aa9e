"""What runs inside of sandboxes, beside the function. Each file is executed by its path."""
